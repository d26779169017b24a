from pathlib import Path

import pytest
from PIL import Image

from devcluster.sheet import BACKGROUND, GAP, contact_sheet


def test_each_picture_has_its_place(tmp_path: Path) -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    pictures = []
    for number, colour in enumerate(colours):
        pictures.append(tmp_path / f"{number}.png")
        Image.new("RGB", (40, 30), colour).save(pictures[-1])
    contact_sheet(pictures, tmp_path / "out" / "sheet.png", columns=2, width=20)
    sheet = Image.open(tmp_path / "out" / "sheet.png")
    assert sheet.size == (2 * (20 + GAP) + GAP, 2 * (15 + GAP) + GAP)
    middles = [
        (GAP + c * (20 + GAP) + 10, GAP + r * (15 + GAP) + 7) for r in (0, 1) for c in (0, 1)
    ]
    assert [sheet.getpixel(at) for at in middles] == [*colours, BACKGROUND]


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], tmp_path / "sheet.png")

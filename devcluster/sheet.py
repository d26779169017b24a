"""A contact sheet: all frames of a folder in one picture."""

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

GAP = 4
BACKGROUND = (24, 24, 28)


def contact_sheet(
    pictures: Sequence[Path], to: Path, *, columns: int = 6, width: int = 200
) -> None:
    """Write a PNG of thumbnails, so many a row, each `width` pixels wide.

    Raises ValueError when there are no pictures.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    thumbnails = [_thumbnail(picture, width) for picture in pictures]
    height = max(thumbnail.height for thumbnail in thumbnails)
    rows = math.ceil(len(thumbnails) / columns)
    size = (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, columns)
        sheet.paste(thumbnail, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    to.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(to)


def _thumbnail(picture: Path, width: int) -> Image.Image:
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    return image.resize((width, round(image.height * width / image.width)))

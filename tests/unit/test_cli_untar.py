"""Unpacking a tar stream: what is written, and what a hostile or broken one cannot do."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from drqueue.cli.untar import UnpackError, unpack
from hypothesis import given
from hypothesis import strategies as st


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Write an archive."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """Describe one member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpacked(data: bytes, target: Path, promised: dict[str, int], step: int = 1000) -> list[str]:
    """Unpack an archive that comes in pieces, and give the files in the order they were whole."""
    done: list[str] = []
    counted: list[int] = []
    pieces = (data[n : n + step] for n in range(0, len(data), step))
    sizes = {path: (size,) for path, size in promised.items()}
    unpack(pieces, target, sizes, counted.append, done.append)
    assert sum(counted) == sum((target / name).stat().st_size for name in done)
    return done


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@given(contents=st.lists(st.binary(max_size=2000), max_size=5), step=st.integers(1, 5000))
def test_what_was_packed_is_unpacked(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], step: int
) -> None:
    folder = tmp_path_factory.mktemp("target")
    files = {f"deep/er/image{n:04d}.png": content for n, content in enumerate(contents)}
    data = tar(*((member(name), content) for name, content in files.items()))
    done = unpacked(data, folder, {name: len(c) for name, c in files.items()}, step)
    assert done == list(files)
    assert everything(folder) == files


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "漢" * 85], ids=["ASCII", "three bytes"])
def test_a_name_as_long_as_a_disk_takes_is_unpacked(tmp_path: Path, name: str) -> None:
    assert len(name.encode()) == 255
    data = tar((member(f"sub/{name}"), b"frame"))
    assert unpacked(data, tmp_path, {f"sub/{name}": 5}) == [f"sub/{name}"]
    assert everything(tmp_path) == {f"sub/{name}": b"frame"}


HOSTILE = [
    member("../outside.png"),
    member("a/../../outside.png"),
    member("/etc/outside.png"),
    member("image.png", tarfile.SYMTYPE, "/etc/passwd"),
    member("image.png", tarfile.SYMTYPE, "image2.png"),
    member("image.png", tarfile.LNKTYPE, "../outside.png"),
    member("image.png", tarfile.CHRTYPE),
    member("image.png", tarfile.FIFOTYPE),
    member(".bashrc"),
    member("..\\outside.png"),
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda info: f"{info.name}-{info.type.decode()}")
def test_nothing_hostile_is_written(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    target = tmp_path / "target"
    target.mkdir()
    # even where the sender's list of frames promises it
    promised = {hostile.name: 0} if hostile.name != ".bashrc" else {}
    with pytest.raises(UnpackError):
        unpacked(tar((hostile, b"")), target, {"image.png": 0, **promised})
    assert everything(tmp_path) == {}


def test_a_link_planted_on_the_disk_is_not_written_through(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.write_text("precious")
    (target / "image.png").symlink_to(outside)
    with pytest.raises(UnpackError, match="outside"):
        unpacked(tar((member("image.png"), b"frame")), target, {"image.png": 5})
    assert outside.read_text() == "precious"


def test_a_folder_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "sub").symlink_to(outside)
    with pytest.raises(UnpackError):
        unpacked(tar((member("sub/image.png"), b"frame")), target, {"sub/image.png": 5})
    assert everything(outside) == {}


@pytest.mark.parametrize("cut", [600, 1023, 1500, 2300])
def test_a_stream_that_ends_early_leaves_whole_files_only(tmp_path: Path, cut: int) -> None:
    data = tar((member("one.png"), b"1" * 500), (member("two.png"), b"2" * 5000))
    # tarfile takes half a header for the end; what then is missing, the download notices
    with suppress(UnpackError):
        unpacked(data[:cut], tmp_path, {"one.png": 500, "two.png": 5000}, 100)
    found = everything(tmp_path)
    assert set(found) <= {"one.png"}
    assert all(content == b"1" * 500 for content in found.values())


def test_a_wrong_size_is_refused_and_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"old")
    with pytest.raises(UnpackError, match="promised"):
        unpacked(tar((member("image.png"), b"longer")), tmp_path, {"image.png": 5})
    assert everything(tmp_path) == {"image.png": b"old"}


def test_what_breaks_the_stream_comes_through(tmp_path: Path) -> None:
    data = tar((member("one.png"), b"1" * 500_000), (member("two.png"), b"2" * 1_000_000))

    def pieces() -> Iterator[bytes]:
        yield data[:900_000]
        raise TimeoutError("the pod died")

    done: list[str] = []
    with pytest.raises(TimeoutError):
        unpack(
            pieces(),
            tmp_path,
            {"one.png": (500_000,), "two.png": (1_000_000,)},
            lambda _: None,
            done.append,
        )
    assert done == ["one.png"]
    assert set(everything(tmp_path)) == {"one.png"}


def test_a_failure_behind_the_archives_end_is_not_missed(tmp_path: Path) -> None:
    data = tar((member("one.png"), b"1"))

    def pieces() -> Iterator[bytes]:
        yield data
        raise TimeoutError("exit status never came")

    with pytest.raises(TimeoutError):
        unpack(pieces(), tmp_path, {"one.png": (1,)}, lambda _: None, lambda _: None)


def test_a_place_that_is_taken_is_told_by_the_files_own_name(tmp_path: Path) -> None:
    (tmp_path / "one.png").mkdir()
    with pytest.raises(OSError, match="directory") as failed:
        unpacked(tar((member("one.png"), b"1")), tmp_path, {"one.png": 1})
    assert failed.value.filename == str(tmp_path / "one.png")
    assert everything(tmp_path) == {}

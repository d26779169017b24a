"""Frames' files go into place once, and no link of a tenant's leads the master astray."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drqueue.farm.paths import UnsafePathError, open_file, opened, remove_tree, split
from drqueue.farm.protocol import FileDone
from drqueue.farm.publish import NotPublishedError, publish


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Volume:
    """A volume with a journal that tenant code must not reach."""

    def __init__(self, root: Path, work: int) -> None:
        self.root = root
        self.work = work
        self.journal = root / "journal" / "journal.sqlite"
        self.attempt = root / "work" / "attempts" / "7"
        self.output = root / "work" / "outputs" / "job"

    def publish(self, path: str = "out.0001", size: int = 5) -> None:
        (why,) = publish(self.work, "outputs/job", [(7, [FileDone(path=path, size=size)])])
        if why:
            raise NotPublishedError(why)

    def unharmed(self) -> bool:
        return self.journal.read_text() == "truth" and names(self.journal.parent) == [
            "journal.sqlite"
        ]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    (tmp_path / "journal").mkdir()
    (tmp_path / "work" / "attempts" / "7").mkdir(parents=True)
    with opened(tmp_path / "work") as work:
        made = Volume(tmp_path, work)
        made.journal.write_text("truth")
        yield made


@contextlib.contextmanager
def not_root(root: Path) -> Iterator[None]:
    """Modes mean nothing to root: be another user for a while, to whom the files belong."""
    if os.geteuid() != 0:
        yield
        return
    for folder, _, files in os.walk(root):
        for path in (folder, *(f"{folder}/{name}" for name in files)):
            os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_renamed_into_place_and_repeated(volume: Volume) -> None:
    (volume.attempt / "out.0001").write_text("frame")
    volume.publish()
    assert (volume.output / "out.0001").read_text() == "frame"
    assert not (volume.attempt / "out.0001").exists()
    volume.publish()
    assert (volume.output / "out.0001").read_text() == "frame"


def test_subfolders_come_along(volume: Volume) -> None:
    (volume.attempt / "layers" / "depth").mkdir(parents=True)
    (volume.attempt / "layers" / "depth" / "out.0001").write_text("frame")
    volume.publish("layers/depth/out.0001")
    assert (volume.output / "layers" / "depth" / "out.0001").read_text() == "frame"


def test_older_frame_is_replaced(volume: Volume) -> None:
    volume.output.mkdir(parents=True)
    (volume.output / "out.0001").write_text("old")
    (volume.attempt / "out.0001").write_text("fresh")
    volume.publish()
    assert (volume.output / "out.0001").read_text() == "fresh"


@pytest.mark.parametrize(("inode", "modified"), [(True, True), (True, False), (False, True)])
def test_moved_before_is_known_by_either_sign(volume: Volume, inode: bool, modified: bool) -> None:
    volume.output.mkdir(parents=True)
    (volume.output / "out.0001").write_text("frame")
    found = (volume.output / "out.0001").stat()
    mark = (found.st_ino + (not inode), found.st_mtime_ns + (not modified))
    file = FileDone(path="out.0001", size=5, mark=mark)
    assert publish(volume.work, "outputs/job", [(7, [file])]) == [""]


def test_older_frame_of_the_same_size_is_not_the_one_that_is_gone(volume: Volume) -> None:
    volume.output.mkdir(parents=True)
    (volume.output / "out.0001").write_text("older")
    fresh = volume.attempt / "out.0001"
    fresh.write_text("fresh")
    found = fresh.stat()
    file = FileDone(path="out.0001", size=5, mark=(found.st_ino, found.st_mtime_ns))
    fresh.unlink()
    assert publish(volume.work, "outputs/job", [(7, [file])]) == ["out.0001 is not there"]


def _symlink(v: Volume) -> None:
    (v.attempt / "out.0001").symlink_to("../../../journal/journal.sqlite")


def _hard_link(v: Volume) -> None:
    os.link(v.journal, v.attempt / "out.0001")


def _linked_attempt(v: Volume) -> None:
    (v.root / "journal" / "out.0001").write_text("truth")
    v.attempt.rmdir()
    v.attempt.symlink_to("../../journal")


def _linked_attempts(v: Volume) -> None:
    v.attempt.rmdir()
    v.attempt.parent.rmdir()
    (v.root / "elsewhere" / "7").mkdir(parents=True)
    (v.root / "elsewhere" / "7" / "out.0001").write_text("frame")
    v.attempt.parent.symlink_to("../elsewhere")


def _linked_output(v: Volume) -> None:
    (v.attempt / "out.0001").write_text("frame")
    v.output.parent.mkdir()
    v.output.symlink_to("../../journal")


def _linked_outputs(v: Volume) -> None:
    (v.attempt / "out.0001").write_text("frame")
    v.output.parent.symlink_to("../journal")


def _folder(v: Volume) -> None:
    (v.attempt / "out.0001").mkdir()


def _fifo(v: Volume) -> None:
    os.mkfifo(v.attempt / "out.0001")


def _socket(v: Volume) -> None:
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(str(v.attempt / "out.0001"))


def _wrong_size(v: Volume) -> None:
    (v.attempt / "out.0001").write_text("another size")


def _nothing(v: Volume) -> None:
    """Leave nothing."""


def _folder_at_the_target(v: Volume) -> None:
    (v.attempt / "out.0001").write_text("frame")
    (v.output / "out.0001").mkdir(parents=True)


@pytest.mark.parametrize(
    "plant",
    [
        _symlink,
        _hard_link,
        _linked_attempt,
        _linked_attempts,
        _linked_output,
        _linked_outputs,
        _folder,
        _fifo,
        _socket,
        _wrong_size,
        _nothing,
        _folder_at_the_target,
    ],
)
def test_planted(
    volume: Volume, plant: Callable[[Volume], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # a socket's path may not be long
    monkeypatch.chdir(volume.attempt)
    plant(volume)
    before = names(volume.journal.parent)
    with pytest.raises(NotPublishedError):
        volume.publish()
    assert volume.journal.read_text() == "truth"
    assert names(volume.journal.parent) == before
    if volume.output.is_dir() and not volume.output.is_symlink():
        assert not (volume.output / "out.0001").is_file()


def test_link_at_the_target_is_replaced_not_followed(volume: Volume) -> None:
    (volume.attempt / "out.0001").write_text("frame")
    volume.output.mkdir(parents=True)
    (volume.output / "out.0001").symlink_to("../../../journal/journal.sqlite")
    volume.publish()
    assert volume.unharmed()
    assert (volume.output / "out.0001").read_text() == "frame"
    assert not (volume.output / "out.0001").is_symlink()


def test_swapped_between_check_and_rename(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    source = volume.attempt / "out.0001"
    source.write_text("frame")
    rename = os.rename

    def swap(*arguments: object, **named: object) -> None:
        source.unlink()
        source.symlink_to("../../../journal/journal.sqlite")
        rename(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", swap)
    with pytest.raises(NotPublishedError, match="no regular file"):
        volume.publish()
    assert volume.unharmed()
    assert names(volume.output) == []


@pytest.mark.parametrize("path", ["../journal/x", "/etc/passwd", "a//b", "a/../b", "a\0b", "."])
def test_paths_that_lead_out(volume: Volume, path: str) -> None:
    with pytest.raises(NotPublishedError):
        volume.publish(path)
    with pytest.raises(UnsafePathError):
        split(path)


def test_full_volume_is_no_fault_of_the_frame(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    (volume.attempt / "out.0001").write_text("frame")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(OSError, match="No space left"):
            volume.publish()
    volume.publish()
    assert (volume.output / "out.0001").read_text() == "frame"


def test_read_only_folder_of_a_renderer_is_no_obstacle(volume: Volume) -> None:
    assets = volume.attempt / "assets"
    assets.mkdir()
    (assets / "out.0001").write_text("frame")
    assets.chmod(0o555)  # as `cp -a` leaves it
    with not_root(volume.root):
        volume.publish("assets/out.0001")
    assert (volume.output / "assets" / "out.0001").read_text() == "frame"


def test_read_only_folder_in_the_output_is_respected(volume: Volume) -> None:
    (volume.attempt / "out.0001").write_text("frame")
    volume.output.mkdir(parents=True)
    volume.output.chmod(0o555)
    with not_root(volume.root), pytest.raises(NotPublishedError) as refusal:
        volume.publish()
    assert str(refusal.value) == "out.0001 cannot be moved into outputs/job: Permission denied"
    assert volume.output.stat().st_mode & 0o777 == 0o555


@pytest.mark.parametrize("failing", ["mkdir", "rename"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENAMETOOLONG, errno.EXDEV, errno.EMLINK])
def test_what_stays_wrong_is_refused_and_others_go_on(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
) -> None:
    for name in ("bad/out.0001", "out.0002"):
        (volume.attempt / name).parent.mkdir(exist_ok=True)
        (volume.attempt / name).write_text("frame")
    volume.output.mkdir(parents=True)
    really = getattr(os, failing)
    tried = []

    def fails(name: str, *arguments: object, **named: object) -> None:
        if name in ("bad", "out.0001"):
            tried.append(name)
            raise OSError(code, os.strerror(code))
        really(name, *arguments, **named)

    monkeypatch.setattr(os, failing, fails)
    frames = [(7, [FileDone(path=name, size=5)]) for name in ("bad/out.0001", "out.0002")]
    why, fine = publish(volume.work, "outputs/job", frames)
    assert tried
    assert os.strerror(code) in why
    assert "bad/out.0001" in why
    assert fine == ""
    assert (volume.output / "out.0002").read_text() == "frame"


def test_folder_with_too_long_a_name(volume: Volume) -> None:
    (volume.attempt / "out.0001").write_text("frame")
    files = [FileDone(path="out.0001", size=5)]
    (why,) = publish(volume.work, f"outputs/{'畫' * 90}", [(7, files)])
    assert "255 bytes" in why


@pytest.mark.parametrize("died_after", ["nothing", "the rename"])
def test_successor_finishes(volume: Volume, died_after: str) -> None:
    place = volume.attempt if died_after == "nothing" else volume.output
    place.mkdir(parents=True, exist_ok=True)
    (place / "out.0001").write_text("frame")
    volume.publish()
    assert (volume.output / "out.0001").read_text() == "frame"


def test_remove_tree_follows_no_link(volume: Volume) -> None:
    (volume.attempt / "deep").mkdir()
    (volume.attempt / "link").symlink_to(volume.journal.parent)
    remove_tree(volume.work, "attempts/7")
    assert not volume.attempt.exists()
    volume.attempt.symlink_to(volume.journal.parent)
    remove_tree(volume.work, "attempts/7")
    assert volume.unharmed()
    assert not volume.attempt.is_symlink()
    remove_tree(volume.work, "attempts/7")


def test_remove_tree_behind_a_link(volume: Volume) -> None:
    volume.attempt.rmdir()
    volume.attempt.parent.rmdir()
    volume.attempt.parent.symlink_to("../journal")
    (volume.journal.parent / "7").mkdir()
    with pytest.raises(UnsafePathError):
        remove_tree(volume.work, "attempts/7")
    assert (volume.journal.parent / "7").is_dir()


def test_open_file_follows_no_link(volume: Volume) -> None:
    (volume.root / "work" / "link").symlink_to(volume.journal)
    (volume.root / "work" / "folder").symlink_to(volume.journal.parent)
    os.mkfifo(volume.root / "work" / "fifo")
    for path in ("link", "folder/journal.sqlite", "fifo", "attempts"):
        with pytest.raises(UnsafePathError):
            open_file(volume.work, path)
    (volume.attempt / "fine").write_text("frame")
    descriptor = open_file(volume.work, "attempts/7/fine")
    assert os.read(descriptor, 10) == b"frame"
    os.close(descriptor)

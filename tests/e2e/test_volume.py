"""The volume fills up; tenant code plants links that point at the journal or outside."""

import pytest

from tests.e2e.commands import FILES, GATED, QUICK, START
from tests.e2e.farm import Farm, counted_once

pytestmark = pytest.mark.e2e


def test_full_volume_loses_nothing_and_heals(farm: Farm, tiny_storage: str) -> None:
    farm.session(storage={"size": "16Mi", "storageClassName": tiny_storage})
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    farm.wait_rendering(2)
    farm.on_volume("dd if=/dev/zero of=/volume/work/ballast bs=64k 2>/dev/null; true")
    farm.open_gate()
    farm.wait(
        "the full volume is told",
        lambda: "volume is full" in str((farm.get("RenderJob", "job") or {}).get("status")),
    )
    farm.on_volume("rm -f /volume/work/ballast")
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")
    assert len(farm.outputs()) == 4


@pytest.mark.parametrize(
    "trick",
    [
        "ln -s ../../../journal/journal.sqlite out.0001",
        "ln -s /etc/passwd out.0001",
        "mkfifo out.0001",
        "mkdir out.0001",
    ],
)
def test_planted_file_is_refused(farm: Farm, trick: str) -> None:
    farm.session(nodes=1)
    farm.job(command=f"{START}; {trick}", frames="1", retries=1, output={"files": FILES})
    farm.wait_job(phase="Failed")
    assert not farm.outputs()
    farm.job("after", command=QUICK, frames="1")
    farm.wait_job("after")


def test_output_folder_that_is_a_link_is_not_followed(farm: Farm) -> None:
    farm.session(nodes=1)
    plant = "mkdir -p ../../outputs; ln -s ../../journal ../../outputs/victim; echo x > done"
    farm.job("plant", command=plant, frames="1")
    farm.wait_job("plant")
    farm.job("victim", command=QUICK, frames="1", retries=1)
    victim = farm.wait_job("victim", phase="Failed")
    assert "'victim' is a link" in victim["status"]["lastError"]
    listing = farm.on_volume("ls /volume/journal")
    assert "out.0001" not in listing


def test_many_files_made_at_the_same_moment(farm: Farm) -> None:
    """By the farm's user, not by root: the volume's file system must not refuse one of them."""
    farm.session()
    farm.job(command=QUICK, frames="1")
    farm.wait_job()
    numbers = "1 2 3 4 5 6 7 8"
    one = f"mkdir many/$i; for n in {numbers}; do mkdir many/$i/$n && echo x >many/$i/$n/f; done"
    said = farm.work(f"rm -rf many; mkdir many; for i in {numbers}; do ({one}) & done 2>&1; wait")
    assert said == ""
    assert int(farm.work("find many -name f -size +0 | wc -l")) == 64

"""The chart on the real cluster: upgraded from the commit before, uninstalled, installed again."""

import pytest

from tests.e2e.commands import FILES, GATED
from tests.e2e.conftest import Installed
from tests.e2e.farm import Farm, counted_once

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


def test_uninstall_leaves_nothing_stuck_and_install_goes_on(
    farm: Farm, installed: Installed
) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    farm.wait_rendering(2)
    installed.uninstall()
    try:
        farm.wait("no pods of ours", lambda: not farm.objects("Pod"))
        for kind in ("RenderSession", "RenderJob", "RenderNode"):
            for item in farm.objects(kind):
                assert not item["metadata"].get("finalizers"), (kind, item["metadata"])
        assert farm.get("RenderSession", "show") is not None, "the CRDs and objects stay"
        assert len(farm.objects("PersistentVolumeClaim")) == 1, "claims stay"
    finally:
        installed.install()
    farm.wait_rendering(2)
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")


def test_upgrade_from_the_commit_before(farm: Farm, installed: Installed) -> None:
    """The chart of the commit before (this one's, where there is none) upgrades to this one."""
    installed.uninstall()
    installed.install(chart=installed.previous_chart())
    farm.session()
    farm.job(command=GATED, frames="1-2", output={"files": FILES})
    farm.wait_rendering(2)
    installed.install()
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-2")

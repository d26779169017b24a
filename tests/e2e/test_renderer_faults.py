"""Renderers misbehave: what they do costs their own frames' retries, and leaves nothing behind."""

import pytest

from tests.e2e.commands import FILES, GATE, GATED, OUTPUT, START
from tests.e2e.farm import Farm
from tests.e2e.processes import processes_of

pytestmark = pytest.mark.e2e


def test_crash_is_retried_elsewhere_then_failed_with_its_last_lines(farm: Farm) -> None:
    farm.session()
    crash = 'if [ "$DRQUEUE_FRAME" = 2 ]; then echo "no such texture"; exit 3; fi'
    command = f"{START}; {crash}; {GATE}; {OUTPUT}"
    farm.job(command=command, frames="1-3", retries=1, output={"files": FILES})
    # the gate holds one slave at frame 1: so the other has failed with 2 once it is at 3, and the
    # first is still there to try it
    farm.wait("both slaves held", lambda: sorted(farm.noted("started")) == [1, 2, 3])
    farm.open_gate()
    job = farm.wait_job(phase="Failed")
    assert job["status"]["frames"]["succeeded"] == 2
    assert job["status"]["failedFrames"] == "2"
    assert "3" in job["status"]["lastError"]
    assert "no such texture" in job["status"]["lastError"]
    assert farm.noted("started").count(2) == 2, "one try and one retry"
    failed = farm.frames()[2]
    assert failed["exit_code"] == 3
    nodes = [attempt["node"] for attempt in failed["attempts"]]
    assert len(set(nodes)) == 2, "the retry went to another slave"
    log = farm.drqueue("job", "logs", "job", "--frame", "2").stdout
    assert "no such texture" in log


def test_children_that_daemonise_end_with_their_frame(farm: Farm) -> None:
    farm.session(nodes=1)
    command = f"setsid sh -c 'sleep 987654 & exec sleep 987654' >/dev/null 2>&1 & {OUTPUT}; {GATED}"
    farm.job(command=command, frames="1", output={"files": FILES})
    farm.wait_rendering(1)
    slave = farm.pods("slave")[0]
    farm.wait("the child", lambda: processes_of(slave["metadata"]["uid"], "987654"))
    farm.open_gate()
    farm.wait_job()
    farm.wait("no child left", lambda: not processes_of(slave["metadata"]["uid"], "987654"))


def test_kill_ends_a_renderer_that_ignores_sigterm(farm: Farm) -> None:
    farm.session(nodes=1)
    farm.job(command="trap '' TERM; while :; do sleep 0.2; done; : 976543", frames="1")
    farm.wait_rendering(1)
    slave = farm.pods("slave")[0]
    farm.wait("the renderer", lambda: processes_of(slave["metadata"]["uid"], "976543"))
    answer = farm.request("RenderJob", "job", "kill-1", verb="kill")
    assert answer["result"] in ("Done", "Accepted")
    farm.wait_job(phase="Killed")
    farm.wait("it is gone", lambda: not processes_of(slave["metadata"]["uid"], "976543"))


def test_log_flood_is_cut_and_the_frame_counts(farm: Farm) -> None:
    farm.session(nodes=1)
    flood = 'yes "flood of words" | head -c 50000000'
    farm.job(command=f"{flood}; {OUTPUT}", frames="1", output={"files": FILES})
    farm.wait_job()
    size = int(farm.on_volume("du -sb /volume/logs | cut -f1").strip())
    assert size < 8_000_000


def test_no_output_file_is_a_failure(farm: Farm) -> None:
    farm.session(nodes=1)
    farm.job(command="true", frames="1", retries=1, output={"files": FILES})
    job = farm.wait_job(phase="Failed")
    assert "out.0001" in job["status"]["lastError"]


def test_frame_timeout(farm: Farm) -> None:
    farm.session(nodes=1)
    farm.job(command="sleep 600", frames="1", retries=1, timeouts={"frame": "2s"})
    job = farm.wait_job(phase="Failed")
    assert "timeout" in job["status"]["lastError"].lower()

"""Which block a node is given, why a job waits, and what ends cost."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from drqueue.farm.attempts import MAX_SPARED, End, accept, end, publish
from drqueue.farm.orders import RefusedError, check_order, put_node
from drqueue.farm.protocol import FrameDone, LimitsOrder, NodeOrder, RequestOrder
from drqueue.farm.reports import job_report
from drqueue.farm.schedule import HOPE_SECONDS, PATIENCE_SECONDS, runnable_blocks, why_waiting
from drqueue.farm.state import SUCCEEDED, Attempt, Job

from tests.unit.farm_testing import OFFER, START, Bench, order


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "journal.sqlite")
    yield made
    made.journal.close()


def finish(bench: Bench, attempt: Attempt, how: End | None = None) -> None:
    """All of an attempt's frames come in, unless it ends otherwise."""
    change = bench.change()
    if how is None:
        job = bench.farm.jobs[attempt.job_uid]
        for index in sorted(attempt.left):
            done = FrameDone(frame=job.frames[index], seconds=2.0)
            publish(change, job, index, attempt.number, done)
            accept(change, job, index, bench.farm.publishing[job.uid, index])
    end(change, attempt, how or End("succeeded", "retry", told=True))
    bench.write(change)


def leased(bench: Bench, node: str = "n0", **offer: Any) -> tuple[str, str] | None:
    attempt = bench.lease(bench.node(node, OFFER.model_copy(update=offer)))
    return (attempt.job_uid, attempt.text) if attempt else None


def test_priority_then_age_then_name(bench: Bench) -> None:
    old = START - timedelta(hours=1)
    for uid, priority, created_at in (
        ("young-b", 50, START),
        ("young-a", 50, START),
        ("old", 50, old),
        ("urgent", 90, START),
        ("late", 10, old),
    ):
        bench.put(order(uid, priority=priority, created_at=created_at, frames="1"))
    order_of_going = [leased(bench, f"n{number}") for number in range(6)]
    assert [found and found[0] for found in order_of_going] == [
        "urgent",
        "old",
        "young-a",
        "young-b",
        "late",
        None,
    ]


def test_priority_changes_with_a_new_generation(bench: Bench) -> None:
    bench.put(order("one"))
    bench.put(order("two"))
    bench.put(order("two", generation=2, priority=99))
    assert leased(bench) == ("two", "1")


@pytest.mark.parametrize(
    ("limits", "renderer", "lacks"),
    [
        ({"pool": "gpu"}, "general", "pool gpu"),
        ({"os": "windows"}, "general", "os windows"),
        ({"cores": 4.5}, "general", "4.5 cores"),
        ({"memory": 2**30 + 1}, "general", f"{2**30 + 1} bytes of memory"),
        ({}, "blender", "renderer blender"),
    ],
)
def test_node_that_lacks_something(
    bench: Bench, limits: dict[str, Any], renderer: str, lacks: str
) -> None:
    job = bench.put(order(limits=LimitsOrder(**limits), renderer=renderer))
    assert leased(bench) is None
    assert why_waiting(bench.farm, job, bench.now) == (
        f"waits for a node with {lacks}: none of the 1 here has it"
    )
    assert runnable_blocks(bench.farm, job) == 10, "nodes may be started for them"


def test_node_that_has_all_that_is_asked_for(bench: Bench) -> None:
    bench.put(order(limits=LimitsOrder(cores=4, memory=2**30, os="linux", pool="fast")))
    assert leased(bench) == ("job-1", "1")


def test_blocks_are_cut_from_the_list_as_written(bench: Bench) -> None:
    bench.put(order(frames="10,1-5,8", block_size=3))
    assert [leased(bench, f"n{n}") for n in range(4)] == [
        ("job-1", "10,1-2"),
        ("job-1", "3-5"),
        ("job-1", "8"),
        None,
    ]


def test_dependency(bench: Bench) -> None:
    late = bench.put(order("late", depends_on=("first",), priority=99))
    assert why_waiting(bench.farm, late, bench.now) == (
        "waits for job first, which this session does not have (yet)"
    )
    bench.put(order("first", frames="1"))
    assert why_waiting(bench.farm, late, bench.now) == "waits for job first"
    assert runnable_blocks(bench.farm, late) == 0
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    assert attempt.job_uid == "first"
    assert leased(bench, "n1") is None
    sequence = late.sequence
    finish(bench, attempt)
    assert late.sequence > sequence, "the operator hears of it"
    assert leased(bench, "n1") == ("late", "1")


def test_failed_dependency_is_told(bench: Bench) -> None:
    first = bench.put(order("first", frames="1", retries=1))
    late = bench.put(order("late", depends_on=("first",)))
    for node in ("n0", "n1"):
        attempt = bench.lease(bench.node(node))
        assert attempt is not None
        finish(bench, attempt, End("failed", "retry", "exit status 3"))
    assert first.state == "failed"
    assert "first, which has failed" in why_waiting(bench.farm, late, bench.now)


def fail_on(bench: Bench, node: str) -> Attempt:
    attempt = bench.lease(bench.node(node))
    assert attempt is not None
    finish(bench, attempt, End("failed", "retry", "exit status 3", told=True))
    return attempt


def test_retry_goes_to_another_node_first(bench: Bench) -> None:
    bench.put(order(frames="1-2"))
    bench.node("n1")
    failed = fail_on(bench, "n0")
    assert failed.text == "1"
    assert leased(bench, "n0") == ("job-1", "2"), "what it has not tried"
    assert leased(bench, "n1") == ("job-1", "1")


def test_retry_on_the_same_node_where_there_is_no_other(bench: Bench) -> None:
    job = bench.put(order(frames="1"))
    fail_on(bench, "n0")
    assert leased(bench, "n0") is None
    assert "another node first" in why_waiting(bench.farm, job, bench.now)
    bench.ticks += HOPE_SECONDS
    assert leased(bench, "n0") == ("job-1", "1")


@pytest.mark.parametrize("state", ["closed", "silent", "without the renderer"])
def test_nodes_that_could_not_take_it_are_not_waited_for(bench: Bench, state: str) -> None:
    bench.put(order(frames="1"))
    if state == "closed":
        bench.node("n1")
        put_node(bench.change(), "n1", NodeOrder(name="n1", state="closed"))
    elif state == "silent":
        bench.node("n1")
        bench.ticks += bench.farm.lease_seconds + 1
    else:
        bench.node("n1", OFFER.model_copy(update={"renderers": ("blender",)}))
    fail_on(bench, "n0")
    bench.ticks += HOPE_SECONDS
    assert leased(bench, "n0") == ("job-1", "1")


def test_patience_with_other_nodes_ends(bench: Bench) -> None:
    bench.put(order(frames="1"))
    bench.node("n1")
    fail_on(bench, "n0")
    bench.ticks += HOPE_SECONDS
    bench.node("n1")
    assert leased(bench, "n0") is None
    bench.ticks += PATIENCE_SECONDS
    bench.node("n1")
    assert leased(bench, "n0") == ("job-1", "1")


def test_retry_holds_only_what_is_not_accepted(bench: Bench) -> None:
    job = bench.put(order(frames="1-4", block_size=4))
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    change = bench.change()
    for index in (0, 2):
        publish(change, job, index, attempt.number, FrameDone(frame=index + 1, seconds=1))
        accept(change, job, index, bench.farm.publishing[job.uid, index])
    end(change, attempt, End("failed", "retry", "exit status 3", told=True))
    bench.write(change)
    assert leased(bench, "n1") == ("job-1", "2,4")


def test_frames_left_fail_when_retries_are_used_up_and_others_go_on(bench: Bench) -> None:
    job = bench.put(order(frames="1-4", block_size=2, retries=2))
    for node in ("n0", "n1", "n2"):
        assert job.state != "failed"
        fail_on(bench, node)
    assert job_report(bench.farm, job, bench.now).failed_frames == "1-2"
    assert "failed: exit status 3 (attempt 3 of block 1-2 on node n2)" in job.last_error
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    assert attempt.text == "3-4"
    finish(bench, attempt)
    report = job_report(bench.farm, job, bench.now)
    assert (report.state, report.succeeded, report.failed) == ("failed", 2, 2)
    assert report.finished_at == bench.now.time


def test_drain_costs_nothing_but_not_for_ever(bench: Bench) -> None:
    job = bench.put(order(frames="1", retries=1))
    for _ in range(MAX_SPARED):
        attempt = bench.lease(bench.node("n0"))
        assert attempt is not None
        finish(bench, attempt, End("drained", "spared", told=True))
        assert job.retries[0].failures == 0
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    finish(bench, attempt, End("drained", "spared", told=True))
    assert job.retries[0].failures == 1


def test_success_without_all_frames_is_missing_output(bench: Bench) -> None:
    job = bench.put(order(frames="1-2", block_size=2, retries=1))
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    finish(bench, attempt, End("failed", "retry"))
    attempt = bench.lease(bench.node("n1"))
    assert attempt is not None
    attempt.refusal = "frame 1: out.0001 was not written"
    change = bench.change()
    end(change, attempt, End("succeeded", "retry", told=True))
    bench.write(change)
    assert "missing_output" in job.last_error
    assert "out.0001" in job.last_error
    assert job.state == "failed"


def test_suspend_cancels_without_cost_and_keeps_frames(bench: Bench) -> None:
    job = bench.put(order())
    first = bench.lease(bench.node("n0"))
    assert first is not None
    finish(bench, first)
    assert leased(bench) == ("job-1", "2")
    bench.put(order(generation=2, suspend=True))
    assert job.state == "suspended"
    assert not bench.farm.attempts
    assert job.retries == {}
    assert leased(bench) is None
    assert "spec.suspend" in why_waiting(bench.farm, job, bench.now)
    bench.put(order(generation=3, suspend=False))
    assert leased(bench) == ("job-1", "2")
    assert job.counts[SUCCEEDED] == 1


def ask(bench: Bench, job: Job, identifier: str, verb: Any, frames: str | None = None) -> Any:
    request = RequestOrder(id=identifier, verb=verb, frames=frames)
    bench.put(job.order.model_copy(update={"requests": (request,)}))
    return job.requests[identifier]


def test_kill_and_rerun(bench: Bench) -> None:
    job = bench.put(order(frames="1-3"))
    first = bench.lease(bench.node("n0"))
    assert first is not None
    finish(bench, first)
    assert leased(bench) == ("job-1", "2")
    assert ask(bench, job, "k1", "kill").result == "Done"
    report = job_report(bench.farm, job, bench.now)
    assert (report.state, report.waiting, report.running) == ("killed", 2, 0)
    assert leased(bench) is None
    bench.restart()
    assert leased(bench) is None
    job = bench.farm.jobs["job-1"]
    assert ask(bench, job, "r1", "rerun", "1").message == "1 frames wait to be rendered again"
    assert job.finished_at is None
    assert {leased(bench, n) for n in ("n0", "n1", "n2")} == {
        ("job-1", "1"),
        ("job-1", "2"),
        ("job-1", "3"),
    }


def test_request_is_obeyed_once(bench: Bench) -> None:
    job = bench.put(order(frames="1"))
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    finish(bench, attempt)
    ask(bench, job, "r1", "rerun")
    assert job.counts[SUCCEEDED] == 0
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    finish(bench, attempt)
    bench.restart()
    job = bench.farm.jobs["job-1"]
    ask(bench, job, "r1", "rerun")
    assert job.counts[SUCCEEDED] == 1, "a repeated id renders nothing again"


@pytest.mark.parametrize(
    ("verb", "frames", "says"),
    [
        ("rerun", "77", "no frame 77"),
        ("rerun", "5-1", "first frame of a range comes after"),
        ("kill", None, "succeeded already"),
    ],
)
def test_refused_requests(bench: Bench, verb: str, frames: str | None, says: str) -> None:
    job = bench.put(order(frames="1"))
    attempt = bench.lease(bench.node("n0"))
    assert attempt is not None
    finish(bench, attempt)
    answer = ask(bench, job, "x", verb, frames)
    assert answer.result == "Refused"
    assert says in answer.message


def test_older_generations_and_changed_ranges_are_refused(bench: Bench) -> None:
    bench.put(order(generation=3))
    bench.restart()
    with pytest.raises(RefusedError, match="generation 2 is older than 3"):
        check_order(bench.farm, order(generation=2))
    with pytest.raises(RefusedError, match="frames cannot be changed"):
        check_order(bench.farm, order(generation=4, frames="1-5"))


@pytest.mark.parametrize("wanted", ["outputs/one", "outputs/one/below", "outputs"])
def test_output_folder_belongs_to_one_job(bench: Bench, wanted: str) -> None:
    bench.put(order("one"))
    two = bench.put(order("two", output_folder=wanted))
    assert two.problem is not None
    assert two.problem.reason == "OutputTaken"
    assert "belongs to job one" in two.problem.message
    assert runnable_blocks(bench.farm, two) == 0
    bench.put(order("three", output_folder="outputs/one-more"))
    assert bench.farm.jobs["three"].problem is None


def test_full_volume_hands_nothing_out(bench: Bench) -> None:
    job = bench.put(order())
    bench.farm.full = "the session's volume is full"
    assert leased(bench) is None
    assert runnable_blocks(bench.farm, job) == 0
    assert why_waiting(bench.farm, job, bench.now) == "the session's volume is full"


def test_ended_node_stays_ended(bench: Bench) -> None:
    change = bench.change()
    put_node(change, "n0", NodeOrder(name="n0", state="ended"))
    bench.write(change)
    bench.restart()
    with pytest.raises(RefusedError, match="never comes back"):
        put_node(bench.change(), "n0", NodeOrder(name="n0", state="open"))


@pytest.mark.parametrize(("drained", "failures"), [(True, 0), (False, 1)])
def test_ended_node_loses_its_block(bench: Bench, drained: bool, failures: int) -> None:
    job = bench.put(order(frames="1"))
    assert leased(bench, "n0") == ("job-1", "1")
    change = bench.change()
    put_node(change, "n0", NodeOrder(name="n0", state="ended", drained=drained))
    bench.write(change)
    assert job.retries[0].failures == failures
    assert leased(bench, "n1") == ("job-1", "1")

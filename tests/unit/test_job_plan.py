"""What a job's status says, when it is written, and when its master is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drqueue.api.base import Condition
from drqueue.api.job import RenderJobStatus
from drqueue.control import fit, job_order, job_plan, job_status, requests, session_jobs
from drqueue.control.job_plan import Session
from drqueue.control.session_mirror import differences
from drqueue.farm.protocol import Changes, JobProblem, JobReport, NodeReport, RequestReport
from drqueue.providers.base import Trouble
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SESSION = Session("session-uid", "Active", "Running", ready=True, stalled=False, message="")


def job(
    name: str = "turntable", status: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kind": "RenderJob",
        "metadata": {
            "name": name,
            "namespace": "studio-a",
            "uid": f"uid-{name}",
            "generation": 2,
            "creationTimestamp": "2026-01-31T11:00:00Z",
        },
        "spec": {"sessionName": "teapots", "renderer": "povray", "frames": "1-24", **spec},
    }
    if status is not None:
        made["status"] = status
    return made


def report(state: str = "running", **more: Any) -> JobReport:
    counts = {"total": 24, "waiting": 20, "running": 2, "succeeded": 2, "failed": 0, **more}
    return JobReport(
        uid="uid-turntable",
        generation=2,
        name="turntable",
        state=state,
        succeeded_frames="1-2",
        failed_frames="",
        output_folder="outputs/turntable",
        **{"waiting_blocks": 10, "running_blocks": 1, **counts},
    )


def facts(found: JobReport | None, trouble: Trouble | None = None) -> job_status.Facts:
    return job_status.Facts(found, SESSION, trouble, "", False, [])


states = st.sampled_from(["waiting", "running", "suspended", "succeeded", "failed", "killed"])
troubles = st.one_of(st.none(), st.just(Trouble("SceneMissing", "no such file")))


@given(st.one_of(st.none(), st.builds(report, states)), troubles)
def test_a_status_holds_and_building_it_again_changes_nothing(
    found: JobReport | None, trouble: Trouble | None
) -> None:
    obj = job()
    status = job_status.build(obj, facts(found, trouble), NOW)
    RenderJobStatus.model_validate(status)
    for condition in status["conditions"]:
        Condition.model_validate(condition)
    again = job_status.build({**obj, "status": status}, facts(found, trouble), NOW)
    assert again == status
    later = NOW + timedelta(hours=1)
    after = job_status.build({**obj, "status": status}, facts(found, trouble), later)
    assert job_status.may_wait({**obj, "status": status}, after) == timedelta.max, (
        "time that goes by is no reason to write"
    )


def test_progress_waits_its_turn_and_the_end_does_not() -> None:
    obj = job()
    obj["status"] = job_status.build(obj, facts(report()), NOW)
    further = job_status.build(obj, facts(report(succeeded=3, waiting=19)), NOW)
    assert job_status.may_wait(obj, further) == timedelta(seconds=5)
    between_blocks = job_status.build(obj, facts(report("waiting", running=0)), NOW)
    assert job_status.may_wait(obj, between_blocks) == timedelta(seconds=5)
    done = job_status.build(obj, facts(report("succeeded", succeeded=24, running=0)), NOW)
    assert job_status.may_wait(obj, done) is None
    wrong = job_status.build(obj, facts(report(), Trouble("OutputTaken", "taken")), NOW)
    assert job_status.may_wait(obj, wrong) is None


def test_progress_is_never_rounded_up_to_done() -> None:
    almost = job_status.build(job(), facts(report(total=1000, succeeded=999, partial=0.99)), NOW)
    assert almost["progress"] == "99%"


def test_a_job_without_its_session_has_no_running_frames() -> None:
    obj = job()
    obj["status"] = job_status.build(obj, facts(report()), NOW)
    gone = replace(facts(None, Trouble("SessionNotFound", "gone")), session=None)
    status = job_status.build(obj, gone, NOW)
    assert status["phase"] == "Waiting"
    assert status["frames"] == {
        "total": 24,
        "waiting": 22,
        "running": 0,
        "succeeded": 2,
        "failed": 0,
    }


def test_dependencies() -> None:
    jobs = {
        "a": job("a", dependsOn=["b"]),
        "b": job("b", dependsOn=["c"]),
        "c": job("c", dependsOn=["a"]),
        "tail": job("tail", dependsOn=["a"]),
        "bad": job("bad", status={"phase": "Failed"}),
        "on-bad": job("on-bad", dependsOn=["bad"]),
        "lost": job("lost", dependsOn=["nobody"]),
        "elsewhere": job("elsewhere", sessionName="other"),
        "far": job("far", dependsOn=["elsewhere"]),
        "fine": job("fine", dependsOn=["done"]),
        "done": job("done", status={"phase": "Succeeded"}),
    }
    found = {name: job_plan.dependency_trouble(j, jobs.get) for name, j in jobs.items()}
    reasons = {name: trouble.reason if trouble else None for name, trouble in found.items()}
    assert reasons == {
        "a": "DependencyCycle",
        "b": "DependencyCycle",
        "c": "DependencyCycle",
        "tail": None,
        "bad": None,
        "on-bad": "DependencyFailed",
        "lost": "DependencyNotFound",
        "elsewhere": None,
        "far": "DependencyNotFound",
        "fine": None,
        "done": None,
    }
    assert found["a"] is not None
    assert "a → b → c → a" in found["a"].message


@pytest.mark.parametrize(
    ("found", "asked", "since", "told"),
    [
        (None, [], None, True),
        (report(), [], None, False),
        (report().model_copy(update={"generation": 1}), [], None, True),
        (report(), ["rerun-1"], None, True),
        (
            report().model_copy(
                update={
                    "requests": (
                        RequestReport(id="rerun-1", verb="rerun", result="Done", time=NOW),
                    )
                }
            ),
            ["rerun-1"],
            None,
            False,
        ),
        (report("suspended"), [], None, True),
        (
            report().model_copy(update={"problem": JobProblem(reason="SceneMissing", message="")}),
            [],
            timedelta(seconds=5),
            False,
        ),
        (
            report().model_copy(update={"problem": JobProblem(reason="SceneMissing", message="")}),
            [],
            timedelta(seconds=20),
            True,
        ),
    ],
)
def test_the_master_is_told_what_it_does_not_know(
    found: JobReport | None, asked: list[str], since: timedelta | None, told: bool
) -> None:
    assert job_plan.must_tell(job(), found, asked, since) == told


def test_a_ttl_spares_what_an_unfinished_job_waits_for() -> None:
    first = job("first", status={"phase": "Succeeded"})
    second = job("second", dependsOn=["first"])
    assert not job_plan.may_be_removed(first, [first, second])
    second["status"] = {"phase": "Failed"}
    assert job_plan.may_be_removed(first, [first, second])


OFFER = fit.offer_of(
    {
        "renderers": ["povray"],
        "pools": ["night"],
        "provider": {"kubernetes": {"resources": {"cores": "4", "memory": "8Gi"}}},
    }
)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, None),
        ({"renderer": "blender"}, "RendererNotOffered"),
        ({"limits": {"cores": "4", "memory": "8Gi", "os": "linux", "pool": "night"}}, None),
        ({"limits": {"cores": "4500m"}}, "LimitsUnsatisfiable"),
        ({"limits": {"memory": "9Gi"}}, "LimitsUnsatisfiable"),
        ({"limits": {"os": "plan9"}}, "LimitsUnsatisfiable"),
        ({"limits": {"pool": "day"}}, "LimitsUnsatisfiable"),
    ],
)
def test_whether_a_class_can_render_a_job(spec: dict[str, Any], reason: str | None) -> None:
    trouble = fit.why_not(job(**spec)["spec"], OFFER, "cpu-small")
    assert (trouble.reason if trouble else None) == reason


# what a session learns from its jobs -------------------------------------------------------------


def looked_at(**status: Any) -> dict[str, Any]:
    return {"phase": "Waiting", "conditions": [], **status}


def changes(*reports: JobReport) -> Changes:
    return Changes(epoch="e", sequence=1, jobs=reports)


def test_blocks_are_the_masters_word_and_before_that_a_guess() -> None:
    known = job(status=looked_at())
    found = session_jobs.demand([known], changes(report()), "session-uid", [OFFER])
    assert (found.active, found.blocks, found.known) == (1, 11, True)
    guessed = session_jobs.demand(
        [{**known, "spec": {**known["spec"], "blockSize": 5}}], None, "session-uid", [OFFER]
    )
    assert (guessed.active, guessed.blocks, guessed.known) == (1, 5, False)


def test_no_node_is_started_for_a_scene_that_may_be_missing() -> None:
    by_path = job(status=looked_at(), scene={"path": "scenes/a.pov"})
    assert session_jobs.demand([by_path], None, "session-uid", [OFFER]).blocks == 0
    by_path["status"]["acceptedBy"] = "session-uid"
    assert session_jobs.demand([by_path], None, "session-uid", [OFFER]).blocks == 24


@pytest.mark.parametrize(
    "quiet",
    [
        job(),
        job(status={"phase": "Succeeded"}),
        job(status=looked_at(), suspend=True),
        job(status=looked_at(conditions=[{"type": "Stalled", "status": "True"}])),
    ],
    ids=["not looked at yet", "over", "suspended", "wrong"],
)
def test_jobs_that_need_no_master(quiet: dict[str, Any]) -> None:
    found = session_jobs.demand([quiet], None, "session-uid", [OFFER])
    assert (found.active, found.blocks, found.must_talk, found.known) == (0, 0, False, True)


def test_a_request_on_a_finished_job_wakes_the_master() -> None:
    over = job(status={"phase": "Succeeded", "acceptedBy": "session-uid"})
    over["metadata"]["annotations"] = {"request.drqueue.org/again": '{"verb": "rerun"}'}
    assert session_jobs.demand([over], None, "session-uid", [OFFER]).must_talk
    over["status"]["handledRequests"] = [{"id": "again"}]
    assert not session_jobs.demand([over], None, "session-uid", [OFFER]).must_talk


def test_what_a_master_knows_and_kubernetes_does_not() -> None:
    mirror = Changes(
        epoch="e",
        sequence=1,
        jobs=(report(), report().model_copy(update={"uid": "uid-gone", "name": "gone"})),
        nodes=(
            NodeReport(uid="live", name="n-0", state="open"),
            NodeReport(uid="over", name="n-1", state="open"),
            NodeReport(uid="told", name="n-2", state="ended"),
        ),
    )
    nodes = [
        {"metadata": {"uid": "live"}},
        {"metadata": {"uid": "over"}, "status": {"endedAt": "2026-01-31T11:00:00Z"}},
    ]
    moved = job(sessionName="other")
    found = differences("teapots", [moved], nodes, mirror)
    assert found.jobs == (("uid-gone", "gone"),)
    assert found.nodes == (("over", "n-1"),)
    assert found.hold == (moved,)
    assert differences("teapots", [job()], nodes, mirror).hold == ()


# requests ----------------------------------------------------------------------------------------


@given(st.text(max_size=40))
def test_any_text_may_stand_in_an_annotation(text: str) -> None:
    obj = job()
    obj["metadata"]["annotations"] = {"request.drqueue.org/x": text, "other": "x"}
    (request,) = requests.pending(obj)
    assert request.id == "x"
    assert request.wrong or request.verb in ("rerun", "kill")


def test_no_more_requests_are_taken_at_a_time_than_answers_are_kept() -> None:
    obj = job()
    obj["metadata"]["annotations"] = {
        f"request.drqueue.org/{n:02}": '{"verb": "kill"}' for n in range(25)
    }
    first = requests.pending(obj)
    answers = requests.with_answers([], [requests.answer(r, "Done", "", NOW) for r in first])
    obj["status"] = {"handledRequests": answers}
    assert {a["id"] for a in answers} == {r.id for r in first}
    assert not {r.id for r in requests.pending(obj)} & {r.id for r in first}


def test_an_order_carries_all_that_the_spec_says() -> None:
    made = job_order.order(
        job(
            blockSize=4,
            limits={"cores": "500m", "memory": "1Gi"},
            timeouts={"frame": "1m30s"},
            scene={"configMap": {"name": "scene", "key": "a.pov"}},
        ),
        job_order.scene_without_content(job(scene={"configMap": {"name": "s", "key": "a.pov"}})),
    )
    assert (made.limits.cores, made.limits.memory) == (0.5, 2**30)
    assert made.frame_timeout_seconds == 90
    assert made.output_folder == "outputs/turntable"
    assert made.scene is not None
    assert (made.scene.file_name, made.scene.content_base64) == ("a.pov", None)


@pytest.mark.parametrize("reason", ["TemplateInvalid", "SceneMissing"])
def test_what_a_master_found_wrong_stays_while_it_sleeps(reason: str) -> None:
    obj = job()
    obj["status"] = job_status.build(obj, facts(report(), Trouble(reason, "it is so")), NOW)
    assert job_plan.remembered_trouble(obj) == Trouble(reason, "it is so")
    obj["metadata"]["generation"] += 1
    assert job_plan.remembered_trouble(obj) is None, "an edit may have mended it"


def test_what_the_operator_finds_wrong_is_found_anew() -> None:
    obj = job()
    trouble = Trouble("SessionNotFound", "gone")
    obj["status"] = job_status.build(obj, facts(None, trouble), NOW)
    assert job_plan.remembered_trouble(obj) is None

"""`drqueue job show`: all that a person wants to know about a job."""

import click

from drqueue.cli.context import Run
from drqueue.cli.describe import (
    print_conditions,
    print_events,
    print_requests,
    unseen,
    why_not_ready,
)
from drqueue.cli.errors import ApiError
from drqueue.cli.kinds import NODE_CLASS, SESSION, Kind, Object
from drqueue.cli.output import age, dig, print_fields, section
from drqueue.cli.rows import eta, job_phase, why


def print_job(run: Run, item: Object) -> None:
    """Write a job, what its session and class say, its conditions, answers and events."""
    spec, status = item["spec"], item.get("status") or {}
    print_fields(
        [
            ("Job", f"{item['metadata']['namespace']}/{item['metadata']['name']}"),
            ("Phase", "Ending" if dig(item, "metadata", "deletionTimestamp") else job_phase(item)),
            ("Why", why(item)),
            ("Session", spec.get("sessionName")),
            ("Renderer", spec.get("renderer") or "template of its own"),
            ("Scene", scene_text(spec.get("scene") or {})),
            ("Frames", f"{spec.get('frames')}, in blocks of {spec.get('blockSize', 1)}"),
            ("Priority", spec.get("priority")),
            ("Retries", spec.get("retries")),
            ("Limits", _pairs(spec.get("limits"))),
            ("Parameters", _pairs(spec.get("parameters"))),
            ("Depends on", ", ".join(spec.get("dependsOn") or [])),
            ("Progress", _progress(status)),
            ("Succeeded", status.get("succeededFrames")),
            ("Failed", status.get("failedFrames")),
            ("ETA", eta(item, run.now)),
            ("Output folder", status.get("outputFolder")),
            ("Age", age(dig(item, "metadata", "creationTimestamp"), run.now)),
            ("Started", status.get("startedAt")),
            ("Finished", status.get("finishedAt")),
        ]
    )
    if status.get("lastError"):
        section("Last error")
        print_fields([("Error", status["lastError"])])
    _print_surroundings(run, item)
    print_conditions(item, run.now)
    print_requests(item, run.now)
    print_events(run.cluster, item, run.now)


def scene_text(scene: Object) -> str:
    """Where a scene comes from, in a few words."""
    if scene.get("path"):
        return f"{scene['path']} in the session's volume"
    source = scene.get("configMap")
    return f"{source.get('key')} of ConfigMap {source.get('name')}" if source else ""


def _pairs(values: dict[str, object] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in (values or {}).items())


def _progress(status: Object) -> str:
    frames = status.get("frames") or {}
    if not frames.get("total"):
        return ""
    states = ("succeeded", "running", "waiting", "failed")
    counts = ", ".join(f"{frames.get(state, 0)} {state}" for state in states)
    share = f"{status['progress']}: " if status.get("progress") else ""
    return f"{share}{counts}, of {frames['total']}"


def _print_surroundings(run: Run, item: Object) -> None:
    """Say what the session and its class are up to, for a job waits for them most often."""
    name = str(item["spec"]["sessionName"])
    found, problem = _look(run, SESSION, item["metadata"]["namespace"], name)
    section("Session and node class")
    if found is None:
        click.echo(problem)
        return
    nodes = dig(found, "status", "nodes") or {}
    node_class = str(dig(found, "spec", "nodeClassName"))
    class_found, class_problem = _look(run, NODE_CLASS, None, node_class)
    print_fields(
        [
            ("Session", name),
            ("Phase", dig(found, "status", "phase") or "Pending"),
            ("Why", unseen(found) or why_not_ready(found)),
            (
                "Nodes",
                f"{nodes.get('desired', 0)} wanted, {nodes.get('ready', 0)} ready, "
                f"{nodes.get('running', 0)} rendering",
            ),
            ("Render time", f"{dig(found, 'status', 'renderTime', 'remaining') or '?'} left"),
            ("Node class", node_class if class_found else class_problem),
            ("Offers", ", ".join(dig(class_found, "spec", "renderers") or [])),
            ("Class says", why_not_ready(class_found) if class_found else None),
        ]
    )


def _look(run: Run, kind: Kind, namespace: str | None, name: str) -> tuple[Object | None, str]:
    """Read an object, or say why it cannot be read: the job is shown in any case."""
    try:
        return run.cluster.get(kind, namespace, name), ""
    except ApiError as error:
        if error.status == 404:
            return None, f"there is no {kind.word} {name!r} (yet)"
        return None, f"{kind.word} {name!r}, which you may not read"

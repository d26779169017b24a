"""What a pod's status says: when it was first Ready, when and how it ended, what it waits for."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from drqueue.api.values import parse_time
from drqueue.providers.base import EndCause, Observation, Trouble

Pod = Mapping[str, Any]

LOST_AFTER = timedelta(seconds=60)
"""A pod that should have ended so long ago, and whose kubelet says nothing, is lost."""

_IMAGE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
}
_TAKEN = {"Evicted", "Preempting", "Terminated", "NodeLost", "NodeShutdown", "Shutdown"}


def observe_pod(pod: Pod, now: datetime) -> Observation:
    """Read a pod as its node's reconciler needs it."""
    meta, status = pod["metadata"], pod.get("status") or {}
    deletion = meta.get("deletionTimestamp")
    ended_at, cause, message = _end(pod, now)
    ended = ended_at is not None
    ready = not ended and _condition(pod, "Ready").get("status") == "True"
    return Observation(
        provider_id=f"{meta['namespace']}/{meta['name']}",
        created_at=parse_time(meta["creationTimestamp"]),
        ready=ready,
        ready_at=first_ready(pod),
        ended=ended,
        ended_at=ended_at,
        cause=cause,
        message=message,
        stops_by=parse_time(deletion) if deletion else None,
        address=status.get("podIP"),
        trouble=None if ended or ready or deletion else pod_trouble(pod),
    )


def is_ready(pod: Pod | None) -> bool:
    """Whether a pod answers, and is not on its way out."""
    return (
        pod is not None
        and "deletionTimestamp" not in pod["metadata"]
        and _condition(pod, "Ready").get("status") == "True"
    )


def has_ended(pod: Pod) -> bool:
    """Whether no container of it will run again."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_overdue(pod: Pod, now: datetime) -> bool:
    """Whether it should have been gone for a minute."""
    deletion = pod["metadata"].get("deletionTimestamp")
    return deletion is not None and now >= parse_time(deletion) + LOST_AFTER


def machine_is_silent(pod: Pod, now: datetime) -> bool:
    """Whether it is overdue on a machine that says nothing of its end."""
    on_machine = bool((pod.get("spec") or {}).get("nodeName"))
    return on_machine and not has_ended(pod) and is_overdue(pod, now)


def first_ready(pod: Pod) -> datetime | None:
    """When the pod was first Ready, as far as its status still tells.

    A pod that is Ready no more says only since when. If that is after its container started, it
    was Ready in between, and the start is the nearest time that is known.
    """
    condition = _condition(pod, "Ready")
    since = condition.get("lastTransitionTime")
    if since is None:
        return None
    if condition.get("status") == "True":
        return parse_time(since)
    for state in _states(pod):
        started = (state.get("terminated") or state.get("running") or {}).get("startedAt")
        if started and parse_time(since) > parse_time(started):
            return parse_time(started)
    return None


def pod_trouble(pod: Pod) -> Trouble | None:
    """Why a pod does not start, where there is more to say than that it takes a while."""
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _IMAGE:
            image = container.get("image") or "its image"
            return Trouble("ImagePullFailed", f"{image} cannot be pulled: {message or reason}")
        if reason == "CreateContainerConfigError":
            kind = "ConfigMapNotFound" if "configmap" in message.lower() else "SecretNotFound"
            return Trouble(kind, f"the container cannot be set up: {message}")
        if reason in ("CrashLoopBackOff", "CreateContainerError", "RunContainerError"):
            last = ((container.get("lastState") or {}).get("terminated")) or {}
            code = f" (last exit code {last['exitCode']})" if "exitCode" in last else ""
            return Trouble("ContainerFails", f"{reason}{code}: {message}".rstrip(": "))
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Trouble("Unschedulable", f"no machine takes it: {scheduled.get('message', '')}")
    return None


def _end(pod: Pod, now: datetime) -> tuple[datetime | None, EndCause | None, str]:
    meta, status = pod["metadata"], pod.get("status") or {}
    deletion = meta.get("deletionTimestamp")
    terminated = [state["terminated"] for state in _states(pod) if state.get("terminated")]
    containers = list(_containers(pod))
    all_over = bool(terminated) and len(terminated) == len(containers)
    if status.get("phase") in ("Succeeded", "Failed") or all_over:
        finished = [t["finishedAt"] for t in terminated if t.get("finishedAt")]
        at = max(map(parse_time, finished)) if finished else _last_sign(pod, now)
        return at, _cause(pod, terminated), _how(pod, terminated)
    if deletion is None:
        return None, None, ""
    if not (pod.get("spec") or {}).get("nodeName"):
        return now, "taken", "deleted before a machine had it"
    if is_overdue(pod, now):
        message = "deleted, and its machine said no more"
        return _last_sign(pod, parse_time(deletion)), "taken", message
    return None, None, ""


def _last_sign(pod: Pod, otherwise: datetime) -> datetime:
    condition = _condition(pod, "Ready")
    since = condition.get("lastTransitionTime")
    if condition.get("status") == "False" and since:
        return min(parse_time(since), otherwise)
    return otherwise


def _cause(pod: Pod, terminated: list[dict[str, Any]]) -> EndCause:
    status = pod.get("status") or {}
    taken = (
        "deletionTimestamp" in pod["metadata"]
        or status.get("reason") in _TAKEN
        or _condition(pod, "DisruptionTarget").get("status") == "True"
    )
    if taken:
        return "taken"
    clean = terminated and all(t.get("exitCode") == 0 for t in terminated)
    return "exited" if clean or status.get("phase") == "Succeeded" else "failed"


def _how(pod: Pod, terminated: list[dict[str, Any]]) -> str:
    status = pod.get("status") or {}
    parts = [
        f"exit code {t.get('exitCode')}"
        + (f" ({t['reason']})" if t.get("reason") not in (None, "Completed", "Error") else "")
        for t in terminated
        if t.get("exitCode") != 0
    ]
    told = " ".join(str(status[name]) for name in ("reason", "message") if status.get(name))
    return "; ".join([*parts, *([told] if told else [])])


def _containers(pod: Pod) -> Iterator[dict[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("containerStatuses") or ()


def _states(pod: Pod) -> Iterator[dict[str, Any]]:
    for container in _containers(pod):
        yield container.get("state") or {}


def _condition(pod: Pod, kind: str) -> dict[str, Any]:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind:
            found: dict[str, Any] = condition
            return found
    return {}

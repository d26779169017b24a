"""From a RenderJob to the order that its master gets, and to the facts its template sees. Pure."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from drqueue.api.frames import check_frames
from drqueue.api.values import parse_duration, parse_quantity, parse_time
from drqueue.control.requests import Request
from drqueue.farm.protocol import JobOrder, LimitsOrder, RequestOrder, SceneOrder
from drqueue.providers.base import Trouble
from drqueue.renderers import JobFacts

Job = Mapping[str, Any]


def output_folder(job: Job) -> str:
    """Where its frames go, relative to the work folder."""
    output = job["spec"].get("output") or {}
    return str(output.get("folder") or f"outputs/{job['metadata']['name']}")


def order(
    job: Job, scene: SceneOrder | None, requests: Iterable[Request] = (), suspend: bool = False
) -> JobOrder:
    """All that should render for the job. `suspend` holds it whatever its spec says."""
    meta, spec = job["metadata"], job["spec"]
    limits, timeouts = spec.get("limits") or {}, spec.get("timeouts") or {}
    files = (spec.get("output") or {}).get("files")
    return JobOrder(
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        name=meta["name"],
        owner=meta["namespace"],
        created_at=parse_time(meta["creationTimestamp"]),
        priority=spec.get("priority", 50),
        frames=spec["frames"],
        block_size=spec.get("blockSize", 1),
        retries=spec.get("retries", 3),
        limits=LimitsOrder(
            cores=float(parse_quantity(limits["cores"])) if limits.get("cores") else None,
            memory=int(parse_quantity(limits["memory"])) if limits.get("memory") else None,
            os=limits.get("os"),
            pool=limits.get("pool"),
        ),
        depends_on=tuple(spec.get("dependsOn") or ()),
        renderer=spec.get("renderer"),
        template=spec.get("template"),
        parameters=dict(spec.get("parameters") or {}),
        scene=scene,
        output_folder=output_folder(job),
        output_files=tuple(files) if files else None,
        frame_timeout_seconds=_seconds(timeouts.get("frame")),
        environment_timeout_seconds=_seconds(timeouts.get("environment")),
        suspend=suspend or bool(spec.get("suspend")),
        requests=tuple(_request(request) for request in requests),
    )


def _seconds(duration: str | None) -> float | None:
    return parse_duration(duration).total_seconds() if duration else None


def _request(request: Request) -> RequestOrder:
    verb = "kill" if request.verb == "kill" else "rerun"
    return RequestOrder(id=request.id, verb=verb, frames=request.frames)


def scene_without_content(job: Job) -> SceneOrder | None:
    """The scene of a job that its master knows: a ConfigMap's content is in the volume by then."""
    scene = job["spec"].get("scene") or {}
    if scene.get("path"):
        return SceneOrder(path=scene["path"])
    if scene.get("configMap"):
        return SceneOrder(file_name=scene["configMap"]["key"])
    return None


def scene_from(job: Job, config_map: Mapping[str, Any] | None) -> SceneOrder | Trouble:
    """The scene of a ConfigMap with its content; or what is missing."""
    source = job["spec"]["scene"]["configMap"]
    name, key = source["name"], source["key"]
    if config_map is None:
        return Trouble(
            "ConfigMapNotFound",
            f"spec.scene.configMap.name {name!r}: there is no such ConfigMap in namespace "
            f"{job['metadata']['namespace']!r} (yet): create it",
        )
    text, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    if key in binary:
        return SceneOrder(file_name=key, content_base64=binary[key])
    if key in text:
        content = base64.b64encode(text[key].encode()).decode()
        return SceneOrder(file_name=key, content_base64=content)
    has = ", ".join(sorted({*text, *binary})[:20]) or "none"
    return Trouble(
        "ConfigMapKeyNotFound",
        f"spec.scene.configMap.key {key!r}: ConfigMap {name!r} has no such key (it has {has}): "
        "add it",
    )


def facts(job: Job) -> JobFacts:
    """The job as its template sees it, on some slave."""
    scene = job["spec"].get("scene") or {}
    path = scene.get("path") or (scene.get("configMap") or {}).get("key")
    return JobFacts(
        name=job["metadata"]["name"],
        owner=job["metadata"]["namespace"],
        frames=job["spec"]["frames"],
        scene=f"/work/{path}" if path else None,
        output_folder="/work/attempts/1",
        work_folder="/work",
    )


def wrong_frames(request: Request) -> str:
    """Why the frames of a rerun are none; empty where they are fine."""
    if request.verb != "rerun" or request.frames in (None, "failed"):
        return ""
    try:
        check_frames(str(request.frames))
    except ValueError as error:
        return f"frames: {error}"
    return ""

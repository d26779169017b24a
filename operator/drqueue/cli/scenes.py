"""A scene file of the user's disk as a ConfigMap, which belongs to the job it was made for."""

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from drqueue.api import API_VERSION
from drqueue.api.job import RenderJob
from drqueue.api.names import LABEL_MANAGED_BY, MANAGED_BY
from drqueue.cli.cluster import Cluster
from drqueue.cli.errors import ApiError
from drqueue.cli.exits import not_found, refused
from drqueue.cli.kinds import CONFIG_MAP, Object
from drqueue.cli.output import bytes_text, dig

MAX_SCENE_BYTES = 1024 * 1024
"""What the API server takes as the data of one ConfigMap."""
MANAGED_BY_CLI = f"{MANAGED_BY}-cli"
ANNOTATION_JOB = "drqueue.org/scene-of"
_STRANGE = re.compile(r"[^-._a-zA-Z0-9]+")


@dataclass(frozen=True)
class SceneFile:
    """A scene that goes into a ConfigMap: its key there, and its bytes."""

    key: str
    content: bytes


def read_scene(path: str) -> SceneFile:
    """Read a scene file. Raises CliError when it is missing, empty, or larger than a ConfigMap."""
    file = Path(path)
    try:
        with file.open("rb") as scene:
            # no more: a device may never end
            content = scene.read(MAX_SCENE_BYTES + 1)
        if len(content) > MAX_SCENE_BYTES:
            size = max(file.stat().st_size, len(content))
            raise refused(
                f"--scene {path}: {bytes_text(size)}, and a ConfigMap holds at most "
                f"{bytes_text(MAX_SCENE_BYTES)}: put the file into the session's volume "
                "(folder work/ of its claim, see `drqueue session show`) and name it "
                "by --scene-path"
            )
    except FileNotFoundError as problem:
        raise not_found(f"--scene {path}: there is no such file") from problem
    except OSError as problem:
        raise not_found(f"--scene {path}: {problem.strerror}") from problem
    if not content:
        raise refused(f"--scene {path}: the file is empty")
    key = _STRANGE.sub("_", file.name)[-253:]
    return SceneFile(key, content)


def config_map_name(job_name: str, scene: SceneFile) -> str:
    """Name of a job's scene: from the job and the content, so that a retry finds its own again."""
    digest = hashlib.sha256(scene.content).hexdigest()[:8]
    return f"{job_name[:200]}-scene-{digest}"


def store(cluster: Cluster, namespace: str, job_name: str, scene: SceneFile) -> Object:
    """Make the ConfigMap; one left over from an interrupted submit of the same job is taken away.

    The name of the job must be free (the server was asked), so what was made for an earlier job of
    that name is nobody's any more.
    """
    name = config_map_name(job_name, scene)
    body: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY_CLI},
            "annotations": {ANNOTATION_JOB: job_name},
        },
        "immutable": True,
        **_data(scene),
    }
    try:
        return cluster.create(CONFIG_MAP, namespace, body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    existing = cluster.get(CONFIG_MAP, namespace, name)
    if dig(existing, "metadata", "annotations", ANNOTATION_JOB) != job_name:
        raise refused(
            f"ConfigMap {name} is somebody else's: delete it, or submit under another job name"
        )
    cluster.delete(CONFIG_MAP, namespace, name, existing["metadata"]["uid"])
    return cluster.create(CONFIG_MAP, namespace, body)


def _data(scene: SceneFile) -> Object:
    try:
        return {"data": {scene.key: scene.content.decode("utf-8")}}
    except UnicodeDecodeError:
        return {"binaryData": {scene.key: base64.b64encode(scene.content).decode("ascii")}}


def give_to(cluster: Cluster, namespace: str, config_map: Object, job: Object) -> None:
    """Make the job the owner of its scene, so that it goes with the job."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": RenderJob.kind,
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
    }
    body = {"metadata": {"ownerReferences": [owner]}}
    cluster.patch(CONFIG_MAP, namespace, config_map["metadata"]["name"], body)


def take_back(cluster: Cluster, namespace: str, config_map: Object) -> None:
    """Delete a scene whose job was not made after all."""
    metadata = config_map["metadata"]
    try:
        cluster.delete(CONFIG_MAP, namespace, metadata["name"], metadata["uid"])
    except ApiError as error:
        if error.status != 404:
            raise

"""Frames and logs from a session's volume: through its master, else through a reader pod."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drqueue.api.names import LABEL_SESSION_UID, master_name, reader_name
from drqueue.cli.context import Run, note
from drqueue.cli.errors import ApiError, UnreachableError
from drqueue.cli.execute import SILENCE_SECONDS, CommandFailedError, StreamBrokenError, execute
from drqueue.cli.exits import CliError, Exit, not_found, timed_out
from drqueue.cli.kinds import JOB, POD, SESSION, Object
from drqueue.cli.objects import find
from drqueue.cli.output import dig
from drqueue.cli.requests import answer, send

READER_SECONDS = 180.0
"""From the request of a reader until its pod must be Ready: an image may have to be pulled."""
COMMAND = "drqueue-reader"
NOTHING_SUCH = (1, 2)
"""Its exit codes for what is not there, and for a wrong range; all others may pass."""

_T = TypeVar("_T")


class FrameFile(BaseModel):
    """A file of a finished frame: its path in the job's output folder, its size in bytes."""

    model_config = ConfigDict(extra="allow")

    path: str
    size: int = Field(ge=0)


class FrameRow(BaseModel):
    """What the journal says about one frame."""

    model_config = ConfigDict(extra="allow")

    frame: int
    state: str
    attempt: int | None = None
    node: str | None = None
    seconds: float | None = None
    files: tuple[FrameFile, ...] = ()
    exit_code: int | None = None
    message: str | None = None


class FrameList(BaseModel):
    """All frames of a job."""

    model_config = ConfigDict(extra="allow")

    output_folder: str | None = None
    frames: tuple[FrameRow, ...] = ()


@dataclass(frozen=True)
class Place:
    """A pod that can read the volume now, and its container."""

    pod: str
    container: str


class Volume:
    """The volume that a job's frames lie on, as far as a person may read it.

    Every read is tried a second time through whatever pod there is, when the first one dies.
    """

    def __init__(self, run: Run, job_name: str, seconds: float = READER_SECONDS) -> None:
        self._run = run
        self._seconds = seconds
        self.namespace = run.namespace
        self.job = find(run.cluster, JOB, self.namespace, job_name)
        self.job_name = job_name
        self._uid = str(self.job["metadata"]["uid"])
        self._session = self._find_session()

    def _find_session(self) -> Object:
        name = str(self.job["spec"]["sessionName"])
        try:
            return self._run.cluster.get(SESSION, self.namespace, name)
        except ApiError as error:
            if error.status != 404 or not error.is_status:
                raise
            raise not_found(
                f"session {name!r} of job {self.job_name!r} is gone, so nothing mounts its volume: "
                "create a session of that name with --claim of the old one's claim"
            ) from error

    def frame_list(self) -> FrameList:
        """Read the state of every frame. Raises CliError."""
        text = self.retried(lambda: b"".join(self.stream("frames", [])))
        try:
            return FrameList.model_validate(json.loads(text))
        except (ValidationError, ValueError) as problem:
            raise CliError(
                Exit.CLUSTER,
                f"the answer of {COMMAND} is none that this version understands: "
                "use the command line of the operator's version",
            ) from problem

    def retried(self, read: Callable[[], _T]) -> _T:
        """Call `read`, and once more when the pod it read through died meanwhile."""
        try:
            return read()
        except (StreamBrokenError, UnreachableError) as problem:
            note(f"{problem}; trying once more")
        except ApiError as error:
            if error.status not in (400, 404, 500, 502, 503, 504):
                raise
            note(f"{error}; trying once more")
        try:
            return read()
        except StreamBrokenError as problem:
            raise CliError(Exit.CLUSTER, f"{problem}, twice: try again later") from problem

    def stream(
        self, verb: str, arguments: Sequence[str], silence_seconds: float | None = SILENCE_SECONDS
    ) -> Iterator[bytes]:
        """Run `drqueue-reader <verb>` for the job beside its volume, and give its output.

        Raises StreamBrokenError when the pod died, CliError for what the command refused.
        """
        place = self.place()
        command = [COMMAND, verb, "--job-uid", self._uid, *arguments]
        try:
            yield from execute(
                self._run.cluster,
                self.namespace,
                place.pod,
                place.container,
                command,
                silence_seconds=silence_seconds,
            )
        except CommandFailedError as failed:
            if failed.exit_code in NOTHING_SUCH and failed.stderr:
                raise not_found(f"job {self.job_name}: {failed.stderr}") from failed
            # killed with its pod, out of memory: worth a second try
            raise StreamBrokenError(f"{COMMAND} in pod {place.pod}: {failed}") from failed

    def place(self) -> Place:
        """Find a pod to read through; open a reader where neither it nor the master runs."""
        metadata = self._session["metadata"]
        name, uid = str(metadata["name"]), str(metadata["uid"])
        places = (
            Place(master_name(name, uid), "master"),
            Place(reader_name(name, uid), "reader"),
        )
        labels = f"{LABEL_SESSION_UID}={uid}"
        deadline = self._run.monotonic() + self._seconds
        asked = False
        pods: dict[str, Object] = {}
        for pods in self._run.cluster.changes(
            POD, self.namespace, labels=labels, deadline=deadline
        ):
            for place in places:
                if is_ready(pods.get(place.pod)):
                    return place
            if not asked and not any(is_coming(pods.get(place.pod)) for place in places):
                note(f"the master of session {name} is asleep: opening a reader")
                self._ask_for_reader(name, deadline)
                asked = True
        seen = "; ".join(pod_text(pods[p.pod]) for p in places if p.pod in pods) or "no such pod"
        raise timed_out(
            f"session {name}: neither master nor reader ready after {self._seconds:g} s ({seen})"
        )

    def _ask_for_reader(self, session: str, deadline: float) -> None:
        request_id = send(self._run, SESSION, session, self.namespace, {"verb": "reader"})
        answer(
            self._run.cluster,
            SESSION,
            session,
            self.namespace,
            request_id=request_id,
            deadline=deadline,
        )


def is_ready(pod: Object | None) -> bool:
    """Whether a pod answers, and is not on its way out."""
    if pod is None or dig(pod, "metadata", "deletionTimestamp"):
        return False
    conditions: list[dict[str, Any]] = dig(pod, "status", "conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def is_coming(pod: Object | None) -> bool:
    """Whether a pod may yet become ready."""
    if pod is None or dig(pod, "metadata", "deletionTimestamp"):
        return False
    return dig(pod, "status", "phase") in (None, "Pending", "Running")


def pod_text(pod: Object) -> str:
    """Say what a pod waits for."""
    for container in dig(pod, "status", "containerStatuses") or []:
        waiting = dig(container, "state", "waiting")
        if waiting:
            return (
                f"{pod['metadata']['name']}: {waiting.get('reason')} {waiting.get('message', '')}"
            )
    return f"{pod['metadata']['name']}: {dig(pod, 'status', 'phase')}"

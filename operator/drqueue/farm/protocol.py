"""The contract between operator, master and slaves: JSON over HTTPS with mutual TLS.

    operator -> master   PUT    /v1/jobs/{uid}          JobOrder    -> JobReport
                         DELETE /v1/jobs/{uid}                      -> 204
                         GET    /v1/changes?epoch=&sequence=&wait=  -> Changes
                         PUT    /v1/nodes/{uid}         NodeOrder   -> NodeReport
    slave -> master      POST   /v1/work                WorkReport  -> WorkAnswer
                         GET    /v1/jobs/{uid}/work                 -> JobWork

Every refusal is a `Problem` with its status: 400 malformed, 403 not this caller's, 404 unknown,
409 older generation or deleted, 413 too large, 426 unknown protocol version, 429 too fast; or, with
Retry-After, 507 where the session's volume is full and 503 where it fails: nothing has happened.
Requests carry the header `DrQueue-Protocol: <n>`; a master accepts its own version and the one
before.

What slaves send is data from strangers, for a tenant's code runs beside them: all of it is bounded
here, and none of it is evaluated.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from drqueue.api.values import Time

PROTOCOL_VERSION = 1
ACCEPTED_VERSIONS = (PROTOCOL_VERSION,)
VERSION_HEADER = "DrQueue-Protocol"

MAX_REQUEST_BYTES = 3 * 1024 * 1024
"""A ConfigMap's scene (1 MiB, in base64) and its template fit."""
MAX_WORK_BYTES = 512 * 1024
MAX_LOG_BYTES = 128 * 1024
"""Of log text in one report; the slave keeps the rest for the next, and cuts what floods."""
MAX_WAIT_SECONDS = 30.0

Uid = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[-A-Za-z0-9]+$")]
RelativePath = Annotated[str, Field(min_length=1, max_length=1024)]
"""Checked by `drqueue.farm.paths`: no absolute path, no `..`, no empty part."""


class Message(BaseModel):
    """Base: snake_case on the wire, frozen. Unknown fields are ignored, so that the version before
    and the version after understand each other."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Problem(Message):
    """Why a request was refused."""

    code: str
    message: str


# operator -> master --------------------------------------------------------------------------


class SceneOrder(Message):
    """The scene: a path in the work folder, or content that the master stores there by its hash."""

    path: RelativePath | None = None
    file_name: str | None = Field(default=None, max_length=253)
    content_base64: str | None = None


class LimitsOrder(Message):
    """What a node must have; cores as a count, memory in bytes."""

    cores: float | None = None
    memory: int | None = None
    os: str | None = None
    pool: str | None = None


class RequestOrder(Message):
    """A person's request (an annotation `request.drqueue.org/<id>`); done once per id."""

    id: str = Field(min_length=1, max_length=63)
    verb: Literal["rerun", "kill"]
    frames: str | None = Field(
        default=None, description="rerun: range text, or `failed`, or None: all"
    )


class JobOrder(Message):
    """All that should render for one RenderJob. Idempotent; lower generations are refused."""

    uid: Uid
    generation: int
    name: str
    owner: str = Field(description="the tenant's namespace")
    created_at: Time
    priority: int
    frames: str
    block_size: int = Field(ge=1)
    retries: int = Field(ge=0)
    limits: LimitsOrder = LimitsOrder()
    depends_on: tuple[str, ...] = ()
    renderer: str | None = None
    template: dict[str, Any] | None = None
    parameters: dict[str, str] = {}
    scene: SceneOrder | None = None
    output_folder: RelativePath
    output_files: tuple[str, ...] | None = None
    frame_timeout_seconds: float | None = None
    environment_timeout_seconds: float | None = None
    suspend: bool = False
    requests: tuple[RequestOrder, ...] = ()


class RequestReport(Message):
    """The answer to a RequestOrder."""

    id: str
    verb: str
    result: Literal["Done", "Refused"]
    message: str = ""
    time: Time


ProblemReason = Literal["SceneMissing", "TemplateInvalid", "OutputTaken", "ParametersInvalid"]


class JobProblem(Message):
    """Wrong input that only the master can see; healed when it is mended, without a restart."""

    reason: ProblemReason
    message: str


JobState = Literal["waiting", "running", "suspended", "succeeded", "failed", "killed"]


class JobReport(Message):
    """What the journal says about a job."""

    uid: Uid
    generation: int
    name: str
    state: JobState
    total: int
    waiting: int
    running: int
    succeeded: int
    failed: int
    succeeded_frames: str = Field(description="range text, at most 16 KiB")
    failed_frames: str
    partial: float = Field(
        default=0.0, description="frames' worth of progress inside running frames"
    )
    waiting_blocks: int = Field(description="that a node could start now")
    running_blocks: int
    reason: str = Field(default="", description="why it waits")
    problem: JobProblem | None = None
    last_error: str = ""
    output_folder: str
    seconds_per_frame: float | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    requests: tuple[RequestReport, ...] = ()


NodeState = Literal["open", "closed", "ended"]


class NodeOrder(Message):
    """Closed: no new block. Ended: its certificate is refused, its attempt is lost (no retry cost
    when `drained`)."""

    name: str
    state: NodeState
    drained: bool = False


class NodeReport(Message):
    """What the master knows of a node."""

    uid: Uid
    name: str
    state: NodeState
    seen_at: Time | None = None
    block: str | None = Field(default=None, description="job name/frame range it renders now")


class Changes(Message):
    """What changed since (epoch, sequence); everything when the epoch is another.

    An epoch is one life of a master; within it, sequences only grow. `nodes` and the sums are
    always whole.
    """

    epoch: str
    sequence: int
    jobs: tuple[JobReport, ...] = ()
    nodes: tuple[NodeReport, ...] = ()


# slave -> master -----------------------------------------------------------------------------


class NodeOffer(Message):
    """What the slave's node has. A lie harms only the tenant that tells it."""

    cores: float = Field(ge=0, le=4096)
    memory: int = Field(ge=0, description="bytes")
    os: str = Field(default="linux", max_length=63)
    pools: tuple[str, ...] = Field(default=(), max_length=32)
    renderers: tuple[str, ...] = Field(default=(), max_length=64)


class FileDone(Message):
    """A file that a frame left in the attempt's folder, closed and fsynced."""

    path: RelativePath
    size: int = Field(ge=0, le=2**60)
    mark: (
        tuple[Annotated[int, Field(ge=0, lt=2**64)], Annotated[int, Field(ge=-(2**63), lt=2**63)]]
        | None
    ) = Field(
        default=None,
        description="inode and mtime (ns), which a rename keeps: they tell it from an older file",
    )


class FrameDone(Message):
    """A frame that rendered; counted when the master answers."""

    frame: int = Field(ge=-(2**31), lt=2**31)
    seconds: float = Field(ge=0, le=10**9)
    files: tuple[FileDone, ...] = Field(default=(), max_length=256)


class LogText(Message):
    """Text that the renderer wrote while at a frame (None: in an environment)."""

    frame: int | None = Field(default=None, ge=-(2**31), lt=2**31)
    text: str = Field(max_length=MAX_LOG_BYTES)


EndResult = Literal[
    "succeeded", "failed", "timeout", "missing_output", "out_of_memory", "canceled", "drained"
]


class AttemptEnd(Message):
    """How the attempt ended. `canceled` and `drained` cost no retry."""

    result: EndResult
    exit_code: int | None = Field(default=None, ge=-(2**31), lt=2**31)
    frame: int | None = Field(
        default=None, ge=-(2**31), lt=2**31, description="the frame it failed at"
    )
    message: str = Field(default="", max_length=2000)
    last_lines: tuple[Annotated[str, Field(max_length=1000)], ...] = Field(
        default=(), max_length=50
    )


class AttemptReport(Message):
    """News of the attempt that the slave holds. Repeating it does no harm."""

    attempt: int = Field(ge=1, le=2**60)
    frames_done: tuple[FrameDone, ...] = Field(default=(), max_length=1000)
    progress: float = Field(default=0.0, ge=0, le=1, description="of the frame it renders now")
    log: tuple[LogText, ...] = Field(default=(), max_length=1000)
    end: AttemptEnd | None = None


class WorkReport(Message):
    """A slave's one request: renews its lease by its arrival, and may ask for the next.

    The master holds the answer for up to `wait_seconds` while it has nothing to say: no lease for
    one who wants it, no cancel or drain for one who renders.
    """

    offer: NodeOffer
    attempt: AttemptReport | None = None
    wants_lease: bool = False
    wait_seconds: float = Field(default=0.0, ge=0, le=MAX_WAIT_SECONDS)


class Lease(Message):
    """One block, once: the attempt's number is never used again."""

    attempt: int
    job_uid: Uid
    job_name: str
    generation: int
    frames: str = Field(description="range text of the frames to render, in order")


class WorkAnswer(Message):
    """`cancel`: drop the attempt, its files count no more (a lease may come with it). `drain`: take
    no new block, then leave."""

    action: Literal["continue", "cancel", "drain"] = "continue"
    lease: Lease | None = None
    lease_seconds: float = Field(description="a silent slave loses its lease after so long")


class JobWork(Message):
    """What a slave needs to render any block of a job at a generation."""

    uid: Uid
    generation: int
    name: str
    owner: str
    template: dict[str, Any]
    parameters: dict[str, str]
    scene: RelativePath | None = None
    frames: str
    block_size: int
    output_files: tuple[str, ...] = Field(
        default=(), description="patterns with #### that each frame must leave; empty: what is new"
    )
    frame_timeout_seconds: float | None = None
    environment_timeout_seconds: float | None = None

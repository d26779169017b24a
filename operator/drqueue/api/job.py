"""RenderJob: a scene, a renderer and a frame range, rendered on a session's nodes."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from drqueue.api.base import Column, CommonStatus, HandledRequest, Model, Resource, StatusModel
from drqueue.api.values import Duration, LabelName, ObjectName, Quantity, Time

MAX_FRAMES_TEXT = 512
MAX_FRAMES = 1_000_000
MAX_RANGE_TEXT = 16 * 1024
"""Bytes of range text kept in a status; longer text ends in `,…`."""


class ConfigMapKey(Model):
    """A key of a ConfigMap in the job's namespace."""

    name: ObjectName
    key: str = Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")


class Scene(Model):
    """Where the scene file is: exactly one of the sources."""

    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Path in the session's volume, relative to its work folder.",
    )
    config_map: ConfigMapKey | None = Field(
        default=None, description="A ConfigMap's key; the master copies it into the volume."
    )


class JobLimits(Model):
    """What a node must have to be given this job's blocks."""

    cores: Quantity | None = Field(default=None, description="CPU cores, at least.")
    memory: Quantity | None = Field(default=None, description="Bytes of memory, at least.")
    os: str | None = Field(
        default=None, max_length=63, description="Operating system, as in linux."
    )
    pool: LabelName | None = Field(default=None, description="Only nodes that carry this pool.")


class Output(Model):
    """Where finished frames go, and which files are a frame's."""

    folder: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description=(
            "Folder in the session's volume, relative to its work folder. It belongs to one job. "
            "Default: outputs/<job name>."
        ),
    )
    files: list[str] | None = Field(
        default=None,
        max_length=16,
        description=(
            "File names that each frame must leave behind, with #### for the padded frame number. "
            "Default: the renderer's; where it names none, whatever a frame leaves is its output."
        ),
    )


class Timeouts(Model):
    """How long things may take before they are ended and tried again."""

    frame: Duration | None = Field(
        default=None, description="For one frame. A block gets this for each of its frames."
    )
    environment: Duration | None = Field(
        default=None, description="For entering or leaving an environment of the template."
    )


class RenderJobSpec(Model):
    """What is wanted."""

    session_name: LabelName = Field(description="The RenderSession whose nodes render it.")
    renderer: LabelName | None = Field(
        default=None, description="One of the class's renderers: povray, blender, general."
    )
    template: dict[str, Any] | None = Field(
        default=None,
        description="An Open Job Description job template of one's own, instead of a renderer.",
    )
    scene: Scene | None = None
    frames: str = Field(
        min_length=1,
        max_length=MAX_FRAMES_TEXT,
        description="Frame range: 1-100, 1-100x5,120 (every fifth), 1-100y3 (all but every third).",
    )
    block_size: int = Field(default=1, ge=1, le=10_000, description="Frames handed out at a time.")
    priority: int = Field(default=50, ge=0, le=100, description="Higher goes first; then age.")
    retries: int = Field(
        default=3, ge=1, le=100, description="How often a block is tried again after a failure."
    )
    limits: JobLimits = Field(default_factory=JobLimits)
    depends_on: list[LabelName] = Field(
        default_factory=list,
        max_length=64,
        description="Jobs of the same session whose frames must all have succeeded first.",
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        max_length=64,
        description="Values of the template's job parameters.",
    )
    output: Output = Field(default_factory=Output)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    suspend: bool = Field(
        default=False, description="True hands out no new blocks and stops the running ones."
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, description="Delete the job (not its frames) so long after its end."
    )


class FrameCounts(StatusModel):
    """How many frames are in which state."""

    total: int = 0
    waiting: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0


JobPhase = Literal["Waiting", "Running", "Suspended", "Succeeded", "Failed", "Killed", "Ending"]


class RenderJobStatus(CommonStatus):
    """What is happening."""

    phase: JobPhase | None = None
    frames: FrameCounts = Field(default_factory=FrameCounts)
    succeeded_frames: str = Field(default="", description="Range text of finished frames.")
    failed_frames: str = Field(default="", description="Range text of frames given up on.")
    progress: str | None = Field(default=None, description="Share of finished frames: 42%.")
    eta: Time | None = Field(default=None, description="When it will be done at the present pace.")
    message: str = Field(default="", description="Why it waits, or what went wrong.")
    last_error: str = Field(default="", description="The newest failure: frame, node, exit, lines.")
    output_folder: str | None = Field(default=None, description="Where the frames are.")
    started_at: Time | None = None
    finished_at: Time | None = None
    accepted_by: str | None = Field(
        default=None, description="UID of the session whose journal holds the job."
    )
    handled_requests: list[HandledRequest] = Field(default_factory=list, max_length=10)


class RenderJob(Resource):
    """Frames to render: a scene, a renderer or template, and a range, cut in blocks."""

    kind: ClassVar[str] = "RenderJob"
    plural: ClassVar[str] = "renderjobs"
    short_names: ClassVar[tuple[str, ...]] = ("rjob",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Phase", json_path=".status.phase"),
        Column(name="Session", json_path=".spec.sessionName"),
        Column(name="Frames", json_path=".status.frames.total", type="integer"),
        Column(name="Done", json_path=".status.frames.succeeded", type="integer"),
        Column(name="Failed", json_path=".status.frames.failed", type="integer"),
        Column(name="Progress", json_path=".status.progress"),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
        Column(name="Message", json_path=".status.message", priority=1),
    )

    spec: RenderJobSpec
    status: RenderJobStatus | None = None

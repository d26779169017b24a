"""RenderJob: a scene, a renderer and a frame range, rendered on a session's nodes."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from drqueue.api.base import Column, CommonStatus, HandledRequest, Model, Resource, StatusModel
from drqueue.api.frames import FRAMES_RULES, MAX_FRAMES_TEXT, check_frames
from drqueue.api.job_parts import JobLimits, Output, Scene, Timeouts
from drqueue.api.rule import Rule, exactly_one, validations
from drqueue.api.values import (
    SET,
    LabelName,
    Time,
    distinct,
    name_rule,
    require_name,
    require_one,
)

MAX_JOB_NAME = 63
MAX_PARAMETER_NAME = 64
_HOW_HINT = "renderer for one the farm knows, template for a job template of your own"
_FILES_FORM = (
    "each file name needs # signs where the padded frame number goes, as in image_####.png: "
    "without them each frame would replace the one before"
)
_PARAMETERS_FORM = (
    f"parameters are named by letters, digits and _, at most {MAX_PARAMETER_NAME}, as in Width"
)
_OWN_DEPENDENCY = "a job cannot wait for itself: take its own name out of dependsOn"
_PARAMETER = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_ONE_FRAME = "^-?[0-9]+$"


class RenderJobSpec(Model):
    """What is wanted."""

    immutable = (
        "renderer",
        "template",
        "scene",
        "frames",
        "block_size",
        "limits",
        "depends_on",
        "parameters",
        "output",
        "timeouts",
    )
    immutable_advice = "create another job"
    rules = (
        exactly_one("renderer", "template", hint=_HOW_HINT),
        Rule(
            rule=f"!has(self.output.files) || self.frames.matches('{_ONE_FRAME}') || "
            "self.output.files.all(f, f.contains('#'))",
            message=_FILES_FORM,
            field_path=".output.files",
        ),
        Rule(
            rule=f"!has(self.parameters) || self.parameters.all(k, k.size() <= {MAX_PARAMETER_NAME}"
            " && k.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
            message=_PARAMETERS_FORM,
            field_path=".parameters",
        ),
    )

    session_name: LabelName = Field(description="The RenderSession whose nodes render it.")
    renderer: LabelName | None = Field(
        default=None, description="One of the class's renderers: povray, blender, general."
    )
    template: dict[str, Any] | None = Field(
        default=None,
        description="An Open Job Description job template of one's own, instead of a renderer.",
    )
    scene: Scene | None = None
    frames: Annotated[str, AfterValidator(check_frames)] = Field(
        max_length=MAX_FRAMES_TEXT,
        json_schema_extra=validations(*FRAMES_RULES),
        description="Frame range: 1-100, 1-100x5,120 (every fifth), 1-100y3 (all but every third).",
    )
    block_size: int = Field(default=1, ge=1, le=10_000, description="Frames handed out at a time.")
    priority: int = Field(default=50, ge=0, le=100, description="Higher goes first; then age.")
    retries: int = Field(
        default=3, ge=1, le=100, description="How often a block is tried again after a failure."
    )
    limits: JobLimits = Field(default_factory=JobLimits)
    depends_on: Annotated[list[LabelName], AfterValidator(distinct)] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=SET,
        description="Jobs of the same session whose frames must all have succeeded first.",
    )
    parameters: dict[str, Annotated[str, Field(max_length=4096)]] = Field(
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
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Delete the job (not its frames) so many seconds after its end.",
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        require_one(_HOW_HINT, renderer=self.renderer, template=self.template)
        files = self.output.files or []
        if not all("#" in name for name in files) and not re.fullmatch(r"-?\d+", self.frames):
            raise ValueError(f"output.files: {_FILES_FORM}")
        for name in self.parameters:
            if len(name) > MAX_PARAMETER_NAME or not _PARAMETER.fullmatch(name):
                raise ValueError(f"parameters {name!r}: {_PARAMETERS_FORM}")
        return self


class FrameCounts(StatusModel):
    """How many frames are in which state."""

    total: int = Field(default=0, description="Frames of the job, each counted once.")
    waiting: int = Field(default=0, description="Not yet handed out, or to be tried again.")
    running: int = Field(default=0, description="In a block that a node holds.")
    succeeded: int = Field(default=0, description="Finished; never rendered again unasked.")
    failed: int = Field(default=0, description="Given up on after the last retry.")


JobPhase = Literal["Waiting", "Running", "Suspended", "Succeeded", "Failed", "Killed", "Ending"]


class RenderJobStatus(CommonStatus):
    """What is happening."""

    phase: JobPhase | None = Field(
        default=None,
        description=(
            "Waiting: no frame runs yet (message says why); Running; Suspended: spec.suspend; "
            "Succeeded: all frames done; Failed: some given up on; Killed: by request; "
            "Ending: being deleted."
        ),
    )
    frames: FrameCounts = Field(default_factory=FrameCounts)
    succeeded_frames: str = Field(default="", description="Range text of finished frames.")
    failed_frames: str = Field(default="", description="Range text of frames given up on.")
    progress: str | None = Field(default=None, description="Share of finished frames: 42%.")
    eta: Time | None = Field(default=None, description="When it will be done at the present pace.")
    message: str = Field(default="", description="Why it waits, or what went wrong.")
    last_error: str = Field(default="", description="The newest failure: frame, node, exit, lines.")
    output_folder: str | None = Field(default=None, description="Where the frames are.")
    started_at: Time | None = Field(default=None, description="When its first block started.")
    finished_at: Time | None = Field(default=None, description="When its last frame ended.")
    accepted_by: str | None = Field(
        default=None, description="UID of the session whose journal holds the job."
    )
    handled_requests: list[HandledRequest] = Field(
        default_factory=list, max_length=10, description="Answers to the newest requests."
    )


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

    selectable: ClassVar[tuple[str, ...]] = (".spec.sessionName",)
    rules = (
        name_rule(MAX_JOB_NAME),
        Rule(
            rule="!has(self.spec.dependsOn) || !(self.metadata.name in self.spec.dependsOn)",
            message=_OWN_DEPENDENCY,
            field_path=".spec.dependsOn",
        ),
        Rule(
            rule="self.spec.sessionName == oldSelf.spec.sessionName || !has(self.status) || "
            "!has(self.status.frames) || !has(self.status.frames.running) || "
            "self.status.frames.running == 0",
            message="sessionName cannot be changed while a block runs: set suspend, wait until "
            "status.frames.running is 0, then move the job",
            field_path=".spec.sessionName",
        ),
    )

    spec: RenderJobSpec
    status: RenderJobStatus | None = None

    @model_validator(mode="after")
    def _name_holds(self) -> Self:
        require_name(self.metadata.name, MAX_JOB_NAME)
        if self.metadata.name in self.spec.depends_on:
            raise ValueError(f"dependsOn: {_OWN_DEPENDENCY}")
        return self

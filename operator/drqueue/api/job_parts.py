"""Parts of a RenderJob: scene, limits, output and timeouts."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from drqueue.api.base import Model
from drqueue.api.rule import Rule, exactly_one, validations
from drqueue.api.values import (
    PATH_PART_RULE,
    PATH_RULE,
    LabelName,
    ObjectName,
    PositiveDuration,
    Quantity,
    WorkPath,
    check_path,
    require_one,
)

_SCENE_HINT = "path for a file in the session's volume, configMap for a small scene"
_OWN_FOLDERS = "^(attempts|scenes)(/|$)"
_OWN_FOLDERS_FORM = (
    "attempts and scenes are the farm's own folders: write another, as in outputs/turntable"
)


class ConfigMapKey(Model):
    """A key of a ConfigMap in the job's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: Annotated[str, AfterValidator(check_path)] = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        json_schema_extra=validations(PATH_RULE),
        description="The key; also the scene's file name in the volume.",
    )


class Scene(Model):
    """Where the scene file is: exactly one of the sources."""

    rules = (exactly_one("path", "configMap", hint=_SCENE_HINT),)

    path: WorkPath | None = Field(
        default=None,
        description="Path in the session's volume, relative to its work folder.",
    )
    config_map: ConfigMapKey | None = Field(
        default=None, description="A ConfigMap's key; the master copies it into the volume."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        require_one(_SCENE_HINT, path=self.path, configMap=self.config_map)
        return self


class JobLimits(Model):
    """What a node must have to be given this job's blocks."""

    cores: Quantity | None = Field(default=None, description="CPU cores, at least.")
    memory: Quantity | None = Field(default=None, description="Bytes of memory, at least.")
    os: LabelName | None = Field(default=None, description="Operating system, as in linux.")
    pool: LabelName | None = Field(default=None, description="Only nodes that carry this pool.")


OutputFile = Annotated[
    str,
    Field(min_length=1, max_length=255, json_schema_extra=validations(PATH_RULE)),
    AfterValidator(check_path),
]


def _check_output_folder(folder: str) -> str:
    if re.match(_OWN_FOLDERS, folder):
        raise ValueError(f"{folder!r} is taken: {_OWN_FOLDERS_FORM}")
    return folder


OutputFolder = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=validations(
            PATH_RULE,
            PATH_PART_RULE,
            Rule(rule=f"!self.matches('{_OWN_FOLDERS}')", message=_OWN_FOLDERS_FORM),
        ),
    ),
    AfterValidator(check_path),
    AfterValidator(_check_output_folder),
]


class Output(Model):
    """Where finished frames go, and which files are a frame's."""

    folder: OutputFolder | None = Field(
        default=None,
        description=(
            "Folder in the session's volume, relative to its work folder. It belongs to one job. "
            "Default: outputs/<job name>."
        ),
    )
    files: list[OutputFile] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description=(
            "File names that each frame must leave behind, with #### for the padded frame number. "
            "Default: the renderer's; where it names none, whatever a frame leaves is its output."
        ),
    )


class Timeouts(Model):
    """How long things may take before they are ended and tried again."""

    frame: PositiveDuration | None = Field(
        default=None, description="For one frame. A block gets this for each of its frames."
    )
    environment: PositiveDuration | None = Field(
        default=None, description="For entering or leaving an environment of the template."
    )

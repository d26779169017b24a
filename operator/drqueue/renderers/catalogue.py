"""The renderers that DrQueue brings along, and the files that their frames leave."""

import copy
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

RENDERERS = ("blender", "general", "povray")
"""Names of the templates beside this module."""

_EXTENSIONS = {
    "povray": {"PNG": "png", "EXR": "exr", "JPEG": "jpg"},
    "blender": {"PNG": "png", "OPEN_EXR": "exr", "JPEG": "jpg"},
}


class UnknownRendererError(KeyError):
    """No such renderer; the text says which there are."""

    def __str__(self) -> str:
        return str(self.args[0])


def template_of(renderer: str) -> dict[str, Any]:
    """The Open Job Description template of a renderer; a copy of the caller's own.

    Raises UnknownRendererError (a KeyError).
    """
    if renderer not in RENDERERS:
        raise UnknownRendererError(
            f"renderer {renderer!r} is not known: write one of {', '.join(RENDERERS)}, "
            "or bring a template of your own in spec.template"
        )
    return copy.deepcopy(_load(renderer))


@cache
def _load(renderer: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(f"{renderer}.yaml").read_text("utf-8")
    template: dict[str, Any] = yaml.safe_load(text)
    return template


def output_files(
    renderer: str | None, job_name: str, parameters: Mapping[str, str]
) -> tuple[str, ...]:
    """Patterns (#### is the padded frame number) of the files that each frame must leave.

    Empty for `general` and for a template of one's own (None): there, what a frame leaves is its
    output, unless spec.output.files says otherwise.
    """
    extensions = _EXTENSIONS.get(renderer or "", {})
    if not extensions:
        return ()
    extension = extensions.get(parameters.get("Format", "PNG"), "png")
    return (f"{job_name}_####.{extension}",)

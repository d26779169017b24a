"""Objects from options and files, checked by the same models that made the CRDs."""

from collections.abc import Iterator
from math import isfinite
from typing import Any, TypeVar

import click
import yaml
from pydantic import BaseModel, ValidationError

from drqueue.api import API_VERSION
from drqueue.api.base import Resource
from drqueue.cli.exits import CliError, Exit, not_found, refused
from drqueue.cli.kinds import Object

MAX_SHOWN_VALUE = 80

_Spec = TypeVar("_Spec", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Leaves a date the text that it is in the file, as JSON and Kubernetes know it."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_text(path: str, what: str) -> str:
    """Read a file, or stdin for `-`, as UTF-8 text. Raises CliError naming it and its purpose."""
    try:
        with click.open_file(path, "rb") as file:
            return bytes(file.read()).decode("utf-8")
    except FileNotFoundError as problem:
        raise not_found(f"{what} {path}: there is no such file") from problem
    except UnicodeDecodeError as problem:
        raise refused(f"{what} {path}: it is no text in UTF-8") from problem
    except OSError as problem:
        raise CliError(Exit.NOT_FOUND, f"{what} {path}: {problem.strerror}") from problem


def read_mapping(text: str, source: str, what: str) -> dict[str, Any]:
    """Read one YAML or JSON document that is a mapping. Raises CliError naming the line."""
    try:
        documents = [d for d in yaml.load_all(text, _Loader) if d is not None]
    except yaml.YAMLError as problem:
        raise refused(
            f"{what} {source}: no valid YAML: {' '.join(str(problem).split())}"
        ) from problem
    except (ValueError, KeyError, AttributeError, RecursionError) as problem:
        # the library takes it for granted that a value is what its tag says
        raise refused(
            f"{what} {source}: no valid YAML: a value is not what its tag says, "
            "or nested too deeply"
        ) from problem
    if len(documents) != 1:
        raise refused(
            f"{what} {source}: {len(documents) or 'no'} documents, one is wanted "
            "(for several objects: kubectl apply -f)"
        )
    if not isinstance(documents[0], dict):
        raise refused(f"{what} {source}: a mapping is wanted, not {type(documents[0]).__name__}")
    strange = list(_not_json(documents[0], ""))
    if strange:
        raise refused(f"{what} {source}: it cannot be sent as JSON", strange)
    return documents[0]


def _not_json(value: object, path: str, above: tuple[int, ...] = ()) -> Iterator[str]:
    """What YAML has and JSON has not, a line each."""
    if isinstance(value, dict | list | tuple):
        if id(value) in above:
            yield f"{path}: holds itself by an alias"
            return
        above = (*above, id(value))
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                yield f"{path}: the key {key!r} is no text: put it in quotes".removeprefix(": ")
            yield from _not_json(part, f"{path}.{key}".removeprefix("."), above)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _not_json(part, f"{path}[{index}]", above)
    elif isinstance(value, float) and not isfinite(value):
        yield f"{path}: {value} is no number there: put it in quotes"
    elif not isinstance(value, str | int | float | None):
        yield f"{path}: {type(value).__name__}: write it as text, in quotes"


def read_manifest(text: str, source: str, resource: type[Resource]) -> Object:
    """Read a manifest of one kind; its spec is checked as options are. Raises CliError."""
    item = read_mapping(text, source, "manifest")
    expected = resource.type_meta()
    found = {key: item.get(key) for key in expected}
    if found != expected:
        raise refused(
            f"manifest {source}: apiVersion {found['apiVersion']!r}, kind {found['kind']!r}: "
            f"{API_VERSION} and {resource.kind} are wanted (for other kinds: kubectl apply -f)"
        )
    metadata = item.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise refused(f"manifest {source}: metadata.name: give the {resource.kind} a name")
    stray = sorted(set(item) - {"apiVersion", "kind", "metadata", "spec", "status"})
    if stray:
        raise refused(f"manifest {source}: {stray[0]}: there is no such field")
    return item


def check(resource: type[Resource], item: Object) -> None:
    """Check an object with its model before the server is asked. Raises CliError by field."""
    try:
        resource.model_validate({key: value for key, value in item.items() if key != "status"})
    except ValidationError as problem:
        name = item["metadata"]["name"]
        raise refused(
            f"{resource.kind} {name}: invalid, nothing was sent", explain_validation(problem)
        ) from problem


def explain_validation(problem: ValidationError) -> list[str]:
    """Write what a model refused: one line `field: value: what is wrong` each."""
    lines = []
    for error in problem.errors(include_url=False):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
        ).lstrip(".")
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            lines.append(f"{path}: there is no such field")
        elif error["type"] == "missing":
            lines.append(f"{path}: a value is required")
        elif isinstance(error["input"], dict | list | BaseModel):
            lines.append(f"{path}: {message}" if path else message)
        elif _shown(error["input"]) in message:
            lines.append(f"{path}: {message}")
        else:
            lines.append(f"{path}: {_shown(error['input'])}: {message}")
    return list(dict.fromkeys(lines))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_VALUE else f"{text[: MAX_SHOWN_VALUE - 1]}…"


def without_empty(value: Any) -> Any:
    """Leave out what was not given: None, and mappings and lists that are empty because of it."""
    if isinstance(value, dict):
        kept = {key: without_empty(part) for key, part in value.items()}
        return {key: part for key, part in kept.items() if part not in (None, {}, [])}
    return value

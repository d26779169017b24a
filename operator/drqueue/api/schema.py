"""The structural OpenAPI schema of a model, as a CRD wants it.

pydantic writes JSON Schema; Kubernetes takes a part of it: no references, no nulls, no titles, no
`additionalProperties` beside `properties`. Defaults stand where the API server shall fill them in.
"""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, NoDefault
from pydantic_core import core_schema

from drqueue.api.base import Model, Resource
from drqueue.api.rule import validations
from drqueue.api.values import format_duration

_ORDER = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "x-kubernetes-validations",
)
_INT32_MAX = 2**31 - 1


class _WithFactories(GenerateJsonSchema):
    """Writes defaults that a factory makes, and durations Go-style."""

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        """Give the default; a part whose fields all have defaults gets `{}`, filled further in."""
        factory: Any = schema.get("default_factory")
        if factory is None:
            return super().get_default_value(schema)
        made = factory()
        if isinstance(made, BaseModel):
            return {}
        return made or NoDefault  # an absent list says the same as an empty one

    def encode_default(self, dft: Any) -> Any:
        """Write durations as they are written in manifests."""
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def structural_schema(kind: type[Resource]) -> dict[str, Any]:
    """Give the openAPIV3Schema of a kind, keys in a fixed order."""
    raw = kind.model_json_schema(by_alias=True, schema_generator=_WithFactories)
    models = _models_by_name(kind)
    parts = {
        name: _simplify(raw["properties"][name], raw["$defs"], models)
        for name in ("spec", "status")
    }
    # The operator writes statuses whole: a default there could only hide that it has not yet.
    _drop_defaults(parts["status"])
    return _ordered(
        {
            "description": raw["description"],
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                **parts,
            },
            **(validations(*kind.all_rules()) if kind.all_rules() else {}),
        }
    )


def _drop_defaults(part: dict[str, Any]) -> None:
    part.pop("default", None)
    for child in (*part.get("properties", {}).values(), *filter(None, [part.get("items")])):
        _drop_defaults(child)


def _models_by_name(kind: type[Resource]) -> dict[str, type[Model]]:
    found: dict[str, type[Model]] = {}

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Model):
            if annotation.__name__ in found:
                return
            found[annotation.__name__] = annotation
            for field in annotation.model_fields.values():
                visit(field.annotation)
        for argument in getattr(annotation, "__args__", ()):
            visit(argument)

    visit(kind)
    return found


def _simplify(
    part: dict[str, Any], definitions: dict[str, Any], models: dict[str, type[Model]]
) -> dict[str, Any]:
    part = dict(part)
    if "anyOf" in part:
        options = [option for option in part.pop("anyOf") if option.get("type") != "null"]
        if len(options) != 1:
            raise TypeError(f"a CRD has no unions: {options}")
        part = {**options[0], **part}
    if "$ref" in part:
        name = part.pop("$ref").rsplit("/", 1)[1]
        part = {**definitions[name], **part}
        rules = models[name].all_rules()
        if rules:
            part |= validations(*rules)
    part.pop("title", None)
    if part.get("default", ...) is None:
        del part["default"]
    if "const" in part:
        part["enum"] = [part.pop("const")]
    if part.get("type") == "integer":
        part["format"] = "int32" if part.get("maximum", 2**63) <= _INT32_MAX else "int64"
    if part.get("type") == "object":
        extra = part.pop("additionalProperties", None)
        if extra is True:
            part["x-kubernetes-preserve-unknown-fields"] = True
        elif isinstance(extra, dict):
            part["additionalProperties"] = _simplify(extra, definitions, models)
    if "properties" in part:
        part["properties"] = {
            name: _simplify(value, definitions, models)
            for name, value in part["properties"].items()
        }
    if "items" in part:
        part["items"] = _simplify(part["items"], definitions, models)
    return _ordered(part)


def _ordered(part: dict[str, Any]) -> dict[str, Any]:
    unknown = part.keys() - set(_ORDER)
    if unknown:
        raise TypeError(f"no place for {sorted(unknown)} in a structural schema")
    if "x-kubernetes-validations" in part:
        part["x-kubernetes-validations"] = [
            {key: entry[key] for key in ("rule", "message", "fieldPath") if key in entry}
            for entry in part["x-kubernetes-validations"]
        ]
    return {key: part[key] for key in _ORDER if key in part}

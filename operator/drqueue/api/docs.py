"""Writes the reference of the resources: `python -m drqueue.api.docs docs/reference.md [--check]`.

Read from the same schemas as the CRDs, so that it says what the API server does.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drqueue.api import API_VERSION, generated
from drqueue.api.base import BOOKS, Resource
from drqueue.api.crds import KINDS
from drqueue.api.money import MONEY_FORM, SIGNED_FORM, SUM_FORM
from drqueue.api.schema import structural_schema
from drqueue.api.values import DURATION_FORM

MEND = "make docs"
UNCHANGED = " cannot be changed: "

INTRODUCTION = f"""\
# Resources of `{API_VERSION}`

Generated from the models in `operator/drqueue/api` by `{MEND}`: edit those, not this file.

`kubectl get {Resource.category} -A` lists sessions, jobs, nodes and classes; `kubectl get {BOOKS}`,
in the namespace of the books, accounts, payments and invoices.
Durations are whole hours, minutes and seconds (`4h`, `1h30m`, `90s`); quantities are written as
in pods (`500m`, `4`, `16Gi`); amounts of money are decimal text (`"12.50"`); times are RFC 3339
in UTC.

What breaks a rule below is refused at admission with the rule's message. Fields that no schema
knows are refused by `kubectl` and by server-side apply; to other clients the API server answers
with a warning and drops them, unless they ask for `fieldValidation=Strict`.

Every `status` is written by the operator alone. Its condition `Ready` sums up; `Reconciling` and
`Stalled` are there for tools that read kstatus.
"""


@dataclass(frozen=True)
class Row:
    """One field, as a line of a table shows it."""

    path: str
    type: str
    default: str
    description: str
    edit: str


def reference() -> str:
    """Write the whole reference as Markdown."""
    contents = "\n".join(f"- [{kind.kind}](#{kind.kind.lower()})" for kind in KINDS)
    return "\n".join([INTRODUCTION, contents, "", *(_section(kind) for kind in KINDS)])


def _section(kind: type[Resource]) -> str:
    schema = structural_schema(kind)
    properties = schema["properties"]
    columns = ", ".join(column.name for column in kind.columns)
    facts = [
        f"Short name `{', '.join(kind.short_names)}`, plural `{kind.plural}`, "
        f"{'in a namespace' if kind.namespaced else 'cluster-wide'}. "
        f"`kubectl get {kind.short_names[0]}` shows {columns}.",
    ]
    if kind.selectable:
        facts.append(
            "Field selectors: "
            + ", ".join(f"`{path.removeprefix('.')}`" for path in kind.selectable)
            + "."
        )
    lines = [f"## {kind.kind}", "", schema["description"], "", " ".join(facts), ""]
    lines += [
        "### spec",
        "",
        "| field | type | default | edit | meaning |",
        "|---|---|---|---|---|",
    ]
    edits = _edits(schema, "")
    for row in _rows(properties["spec"], "", edits.get("spec", "yes"), edits):
        lines.append(
            f"| `{row.path}` | {row.type} | {row.default} | {row.edit} | {row.description} |"
        )
    rules = _rules(schema, "")
    lines += ["", "Refused at admission:", "", *rules, ""] if rules else [""]
    lines += ["### status", "", "| field | type | meaning |", "|---|---|---|"]
    for row in _rows(properties["status"], "", "", {}):
        lines.append(f"| `{row.path}` | {row.type} | {row.description} |")
    return "\n".join([*lines, ""])


def _rows(part: dict[str, Any], path: str, edit: str, edits: dict[str, str]) -> Iterator[Row]:
    required = part.get("required", [])
    for name, field in part.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        editable = "no" if edit == "no" else edits.get(f"spec.{here}", edit)
        yield Row(
            here,
            _type(field),
            "required" if name in required else _default(field),
            _text(field["description"]),
            editable,
        )
        yield from _rows(field, here, editable, edits)
        yield from _rows(field.get("items", {}), f"{here}[]", editable, edits)


def _text(text: str) -> str:
    """Write words so that Markdown shows them as they are."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None or default == {} else f"`{json.dumps(default)}`".replace('"', "")


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}"
    return _scalar(field)


def _scalar(field: dict[str, Any]) -> str:
    messages = [entry["message"] for entry in field.get("x-kubernetes-validations", [])]
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if DURATION_FORM in messages:
        return "duration"
    if not {MONEY_FORM, SIGNED_FORM, SUM_FORM}.isdisjoint(messages):
        return "amount"
    if field.get("format") == "date-time":
        return "time"
    if "minimum" in field:
        least, most = field["minimum"], field.get("maximum")
        bounded = most is not None and most < 2**31 - 1
        return f"integer, {least} to {most}" if bounded else f"integer, {least} or more"
    return str(field["type"])


def _validations(part: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Give each rule in a schema with the path of the field it is about."""
    for entry in part.get("x-kubernetes-validations", []):
        yield f"{path}{entry.get('fieldPath', '')}".removeprefix("."), entry
    for name, field in part.get("properties", {}).items():
        yield from _validations(field, f"{path}.{name}")
    if "items" in part:
        yield from _validations(part["items"], f"{path}[]")


def _rules(schema: dict[str, Any], path: str) -> list[str]:
    """Write each message once, with the fields it is about; the edit column says the rest."""
    fields: dict[str, list[str]] = {}
    for field, entry in _validations(schema, path):
        if UNCHANGED not in entry["message"] or "while" in entry["message"]:
            fields.setdefault(_text(entry["message"]), []).append(field)
    return [
        f"- {', '.join(f'`{field}`' for field in names)}: {message}"
        if all(names)
        else f"- {message}"
        for message, names in fields.items()
    ]


def _edits(schema: dict[str, Any], path: str) -> dict[str, str]:
    """Tell for each field with a rule on its edits whether it may be edited."""
    found = {}
    for field, entry in _validations(schema, path):
        if "oldSelf" in entry["rule"]:
            found[field] = "no" if UNCHANGED in entry["message"] else "see below"
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives its exit code."""
    parser = argparse.ArgumentParser(description="Write the reference of the resources.")
    parser.add_argument("path", type=Path, help="where it goes, as in docs/reference.md")
    parser.add_argument("--check", action="store_true", help="write nothing, report differences")
    options = parser.parse_args(arguments)
    texts = {options.path: reference()}
    if options.check:
        return generated.report(generated.stale(texts), MEND)
    generated.write(texts)
    return 0


if __name__ == "__main__":
    sys.exit(main())

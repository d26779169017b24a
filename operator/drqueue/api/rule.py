"""A CEL rule as a CRD carries it."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Rule(BaseModel):
    """One CEL rule and the message that says what to write instead.

    `field_path` (such as `.size`) names the field at fault where the rule stands on the object.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    message: str
    field_path: str | None = None

    def schema_entry(self) -> dict[str, Any]:
        """Write the rule as an entry of x-kubernetes-validations."""
        entry = {"rule": self.rule, "message": self.message, "fieldPath": self.field_path}
        return {key: value for key, value in entry.items() if value is not None}


def validations(*rules: Rule) -> dict[str, Any]:
    """Give the JSON schema keyword that holds these rules."""
    return {"x-kubernetes-validations": [rule.schema_entry() for rule in rules]}


def exactly_one(*fields: str, hint: str) -> Rule:
    """Demand exactly one of these optional fields (named as in YAML)."""
    given = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    wanted = f"exactly one of {' or '.join(fields)}" if len(fields) > 1 else fields[0]
    return Rule(rule=f"{given} == 1", message=f"give {wanted}: {hint}")


def unchanged(field: str, advice: str) -> Rule:
    """Refuse an edit of a field (named as in YAML), its removal or addition included."""
    return Rule(
        rule=f"has(self.{field}) == has(oldSelf.{field}) && "
        f"(!has(self.{field}) || self.{field} == oldSelf.{field})",
        message=f"{field} cannot be changed: {advice}",
        field_path=f".{field}",
    )

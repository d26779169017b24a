"""Apply the node classes of the chart's values: `python -m drqueue.control.offer`.

Helm cannot make objects of kinds that the same release brings, so a hook's Job does. A class that
was on the list before, and no more, is deleted. One that ops made by hand is touched only where it
has a name on the list: then it is the list's.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drqueue.api import API_VERSION
from drqueue.api.nodeclass import RenderNodeClassSpec
from drqueue.control.client import Client
from drqueue.control.errors import Forbidden, Invalid
from drqueue.control.hooks import connected, insist
from drqueue.control.kinds import Object, key_of

OFFERED_BY = "drqueue.org/offered-by"
"""Annotation on a class: the release whose values it comes from."""


class NodeClass(BaseModel):
    """An entry of `nodeClasses` in the values."""

    model_config = ConfigDict(extra="forbid")

    name: str
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    spec: dict[str, Any]

    def manifest(self, release: str) -> Object:
        """Write the class as applied: only what the values say, defaults are the CRD's."""
        RenderNodeClassSpec.model_validate(self.spec)
        return {
            "apiVersion": API_VERSION,
            "kind": "RenderNodeClass",
            "metadata": {
                "name": self.name,
                "labels": self.labels,
                "annotations": {**self.annotations, OFFERED_BY: release},
            },
            "spec": self.spec,
        }


def read(text: str, release: str) -> list[Object]:
    """Read the list in the values; raises ValueError (of pydantic) naming the entry and field."""
    return [NodeClass.model_validate(entry).manifest(release) for entry in json.loads(text)]


async def offer(client: Client, classes: Sequence[Object], release: str) -> list[str]:
    """Apply the classes and delete those that left the list. Gives what is left to do: nothing."""
    there = {obj["metadata"]["name"]: obj for obj in await client.list("RenderNodeClass")}
    for wanted in classes:
        name = wanted["metadata"]["name"]
        await client.apply(wanted)
        click.echo(f"RenderNodeClass {name}: applied")
    names = {wanted["metadata"]["name"] for wanted in classes}
    for name, obj in there.items():
        offered_by = (obj["metadata"].get("annotations") or {}).get(OFFERED_BY)
        if offered_by == release and name not in names:
            await client.delete(key_of(obj), uid=obj["metadata"]["uid"])
            click.echo(f"RenderNodeClass {name}: deleted, for it left the list")
    return []


async def _main(release: str, classes: Sequence[Object], timeout: float) -> bool:
    async with connected() as (client, _):
        return await insist(lambda: offer(client, classes, release), timeout)


@click.command(help=__doc__)
@click.option("--release", required=True, help="Namespace and name of the release.")
@click.option("--classes", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--timeout", type=float, default=200.0, show_default=True, help="Seconds.")
def main(release: str, classes: Path, timeout: float) -> None:
    """Run the hook."""
    try:
        wanted = read(classes.read_text("utf-8"), release)
        done = asyncio.run(_main(release, wanted, timeout))
    except ValidationError as error:
        raise click.ClickException(f"nodeClasses in the values: {error}") from error
    except (Invalid, Forbidden) as error:
        raise click.ClickException(f"nodeClasses in the values: {error.message}") from error
    sys.exit(0 if done else 1)


if __name__ == "__main__":
    main()

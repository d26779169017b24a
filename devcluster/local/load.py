"""Puts built images into a node's containerd."""

from collections.abc import Sequence

from devcluster.images import Image
from devcluster.local import node
from devcluster.local.run import run
from devcluster.local.state import State
from devcluster.progress import Steps


def load(state: State, image: Image, steps: Steps) -> None:
    """Import an image's archive under its content tag and `dev`, unless the node has it."""
    client = node.ctr(state)
    there = run(*client, "images", "list", "--quiet").split()
    if state.images.get(image.target) == image.tag and image.name in there:
        return
    with steps.step(f"loading the image {image.target} into {state.name}"):
        run(*client, "images", "import", str(image.archive))
        run(*client, "images", "tag", "--force", image.alias, image.name)
    for name in superseded(image, there, previous=state.images.get(image.target)):
        run(*client, "images", "remove", name)
    state.images[image.target] = image.tag
    state.save()


def superseded(image: Image, there: Sequence[str], *, previous: str | None) -> list[str]:
    """Give the content tags to remove: all of the image's but itself and the one before.

    Containers that run keep their files; a pod not yet started may still name the one before.
    """
    kept = {image.alias, image.name, f"{image.repository}:{previous}"}
    return [name for name in there if name.startswith(f"{image.repository}:") and name not in kept]

"""Puts built images into a node's containerd."""

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
    state.images[image.target] = image.tag
    state.save()

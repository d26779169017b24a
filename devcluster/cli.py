"""The commands."""

import shutil
import sys

import click

from devcluster import build as builds
from devcluster import clusters, components, host, images, local
from devcluster.choose import choose
from devcluster.errors import DevclusterError
from devcluster.local import state as states
from devcluster.progress import Steps, console

NAME = click.option("--name", default="drqueue", show_default=True, help="The cluster's name.")


@click.group(help=__doc__)
def cli() -> None:
    """A Kubernetes to develop on."""


@cli.command()
@NAME
@click.option("--profile", type=click.Choice(states.PROFILES), default="full", show_default=True)
@click.option("--controllers/--no-controllers", default=True, help="controller-manager, scheduler.")
@click.option("--audit", is_flag=True, help="Write <folder>/audit.log (local only).")
@click.option("--images", "with_images", is_flag=True, help="Build and load operator and slave.")
def up(name: str, profile: str, controllers: bool, audit: bool, with_images: bool) -> None:
    """Start a cluster, or what is missing of it.

    The control-plane profile is always local: processes, no node, no root.
    """
    if profile == "full":
        targets = images.DEFAULT_TARGETS if with_images else ()
        path = clusters.start(name, targets=targets, audit=audit).kubeconfig
    else:
        path = local.start(name, profile, controllers=controllers, audit=audit).kubeconfig
    console.print(f"{name} is up: export KUBECONFIG={path}", soft_wrap=True, highlight=False)


@cli.command()
@NAME
def down(name: str) -> None:
    """Take a cluster down, with all it put on this machine."""
    clusters.stop(name)


@cli.command()
@NAME
def kubeconfig(name: str) -> None:
    """Print the path of the administrator's kubeconfig."""
    click.echo(clusters.kubeconfig(name))


@cli.command()
@NAME
def status(name: str) -> None:
    """Show which of a cluster's processes run; exit 1 if one does not."""
    found = local.status(name)
    for component, runs in found.items():
        click.echo(f"{component:24} {'runs' if runs else 'ended'}")
    sys.exit(0 if all(found.values()) else 1)


@cli.command(name="list")
def list_() -> None:
    """List the local clusters."""
    for name in states.names():
        if state := states.load(name):
            click.echo(f"{name:24} {state.profile:14} {state.server}")


@cli.command()
@click.argument("names", nargs=-1, metavar="[COMPONENT]...")
def build(names: tuple[str, ...]) -> None:
    """Build programs into the cache: all that a full cluster needs, or the ones named."""
    unknown = sorted(set(names) - set(components.COMPONENTS))
    if unknown:
        known = ", ".join(components.COMPONENTS)
        raise DevclusterError(f"no component {', '.join(unknown)}; there are: {known}")
    with Steps() as steps:
        builds.ensure(names or components.FULL, steps)


@cli.command(name="images")
@NAME
@click.option("--target", "targets", multiple=True, type=click.Choice(images.TARGETS))
def images_(name: str, targets: tuple[str, ...]) -> None:
    """Build images, load them into the cluster and print their names (operator and slave)."""
    for image in clusters.load_images(name, targets or images.DEFAULT_TARGETS):
        click.echo(image.name)


@cli.command()
def packages() -> None:
    """Install the Debian packages that are missing: what tests and benchmarks need, and, where
    the way is local, what builds, images and a node need.
    """
    wanted = {package for package in host.TEST_PACKAGES if not shutil.which(package)}
    if choose() == "local":
        wanted |= {*host.NODE_PACKAGES, *host.IMAGE_PACKAGES}
        wanted.update(package for c in components.COMPONENTS.values() for package in c.debian)
    with Steps() as steps:
        host.ensure_packages(wanted, steps)


@cli.command()
@click.argument("user")
@NAME
@click.option("--group", "groups", multiple=True)
def user(user: str, name: str, groups: tuple[str, ...]) -> None:
    """Print the path of a kubeconfig for a user with a certificate of their own."""
    click.echo(local.user_kubeconfig(name, user, groups))


@cli.command()
@click.argument("verb", type=click.Choice(["stop", "start", "freeze", "thaw"]))
@NAME
def apiserver(verb: str, name: str) -> None:
    """Stop, start, freeze or thaw a cluster's API server."""
    getattr(local, f"{verb}_apiserver")(name)


def main() -> None:
    """Run a command; an error of ours is one sentence and exit code 1."""
    try:
        cli(prog_name="devcluster")
    except DevclusterError as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)

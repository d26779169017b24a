"""Helm as tests, checks and the demo call it: render, install, upgrade, uninstall."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from devcluster.components import COMPONENTS

CHART = Path(__file__).parent / "drqueue-operator"
KUBE_VERSION = "1.35.1"
"""What `template` and `lint` take the cluster for; a release asks the real one."""

Object = dict[str, Any]


class HelmError(Exception):
    """Helm refused; the message is what it said."""


def binary() -> Path:
    """Where helm is: DRQUEUE_HELM, the devcluster's cache, or PATH, in this order.

    Raises HelmError where it is nowhere.
    """
    if named := os.environ.get("DRQUEUE_HELM"):
        return Path(named)
    built = COMPONENTS["helm"].folder / "helm"
    if built.exists():
        return built
    if found := shutil.which("helm"):
        return Path(found)
    raise HelmError("no helm: run `python -m devcluster build helm`, or name one in DRQUEUE_HELM")


@dataclass(frozen=True)
class Helm:
    """Helm against one chart and, where a kubeconfig is given, one cluster."""

    kubeconfig: Path | None = None
    chart: Path = CHART
    release: str = "drqueue"
    namespace: str = "drqueue-system"
    executable: Path = field(default_factory=binary)

    @property
    def _what(self) -> list[str]:
        return [self.release, str(self.chart), "--namespace", self.namespace]

    def lint(self, values: Mapping[str, Any] | None = None) -> str:
        """Lint the chart, warnings included. Raises HelmError."""
        return self._run(
            ["lint", str(self.chart), "--strict", "--kube-version", KUBE_VERSION], values
        )

    def template(self, values: Mapping[str, Any] | None = None) -> list[Object]:
        """Render the chart, hooks included, without a cluster. Raises HelmError."""
        return [doc for doc in yaml.safe_load_all(self.raw(values)) if doc]

    def raw(self, values: Mapping[str, Any] | None = None) -> str:
        """The same, as the text that Helm writes."""
        return self._run(["template", *self._what, "--kube-version", KUBE_VERSION], values)

    def install(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        timeout: str = "5m",
        arguments: Sequence[str] = (),
    ) -> str:
        """Install, or upgrade what is installed, and wait until its pods are Ready."""
        return self.upgrade(values, arguments=["--wait", "--timeout", timeout, *arguments])

    def upgrade(
        self, values: Mapping[str, Any] | None = None, *, arguments: Sequence[str] = ()
    ) -> str:
        """Install, or upgrade what is installed, and wait for hooks only."""
        options = ["--install", "--create-namespace"]
        return self._run(["upgrade", *self._what, *options, *arguments], values)

    def uninstall(self, *, timeout: str = "6m", arguments: Sequence[str] = ()) -> str:
        """Uninstall, the pre-delete hook included, and wait until all is gone."""
        what = [self.release, "--namespace", self.namespace]
        options = ["--ignore-not-found", "--wait", "--timeout", timeout]
        return self._run(["uninstall", *what, *options, *arguments], None)

    def _run(self, arguments: Sequence[str], values: Mapping[str, Any] | None) -> str:
        command = [str(self.executable), *arguments]
        if self.kubeconfig is not None:
            command += ["--kubeconfig", str(self.kubeconfig)]
        if values is not None:
            command += ["--values", "-"]
        done = subprocess.run(
            command,
            input=json.dumps(values) if values is not None else "",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise HelmError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout


if __name__ == "__main__":
    sys.stdout.write(Helm().lint())

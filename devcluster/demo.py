"""`make demo`: from a bare machine to rendered frames, and a cluster left to play with."""

import os
import subprocess
import sys
import time
from pathlib import Path

from devcluster import build, clusters, paths
from devcluster.errors import DevclusterError
from devcluster.progress import Steps, console
from devcluster.sheet import contact_sheet
from helm.chart import Helm, HelmError

NAMESPACE, JOB = "studio-a", "turntable"
OUT = paths.REPOSITORY / "out"
PROGRAMS = Path(sys.executable).parent
READY_SECONDS = 120


def run(name: str) -> None:
    """Bring everything up, render the example, fetch its frames. Raises DevclusterError."""
    cluster = clusters.start(name, targets=("operator", "slave"))
    with Steps() as steps:
        build.ensure(("helm",), steps)
        with steps.step("installing the chart"):
            Helm(kubeconfig=cluster.kubeconfig).install({"images": cluster.values()})
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    _apply_examples(environment)
    _call(environment, "drqueue", "-n", NAMESPACE, "job", "watch", JOB)
    frames = OUT / JOB
    _call(environment, "drqueue", "-n", NAMESPACE, "job", "download", JOB, "--to", str(frames))
    sheet = OUT / f"{JOB}.png"
    contact_sheet(sorted(frames.glob("*.png")), sheet)
    _tell(cluster, frames, sheet)


def _apply_examples(environment: dict[str, str]) -> None:
    """Apply examples/, whose kinds may be too new for the API server to know: for so long."""
    deadline = time.monotonic() + READY_SECONDS
    command = [str(PROGRAMS / "kubectl"), "apply", "-f", str(paths.REPOSITORY / "examples")]
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            console.print(done.stdout.strip(), highlight=False)
            return
        if time.monotonic() > deadline:
            raise DevclusterError(f"kubectl apply -f examples/ failed:\n{done.stderr}")
        time.sleep(1)


def _call(environment: dict[str, str], program: str, *arguments: str) -> None:
    done = subprocess.run([str(PROGRAMS / program), *arguments], env=environment, check=False)
    if done.returncode != 0:
        raise DevclusterError(
            f"`{program} {' '.join(arguments)}` ended with exit code {done.returncode}"
        )


def _tell(cluster: clusters.Started, frames: Path, sheet: Path) -> None:
    console.print(
        f"\nFrames: {frames.relative_to(paths.REPOSITORY)}/, all on one sheet: "
        f"{sheet.relative_to(paths.REPOSITORY)}\n\nThe cluster is left running:\n\n"
        f"  export KUBECONFIG={cluster.kubeconfig}\n"
        f"  export PATH={PROGRAMS}:$PATH\n"
        "  kubectl get drqueue -A\n"
        f"  drqueue -n {NAMESPACE} job show {JOB}\n"
        f"  drqueue -n {NAMESPACE} job rerun {JOB}\n\n"
        f"{cluster.way_down()}",
        highlight=False,
        soft_wrap=True,
    )


def main() -> None:
    """Run the demo; an error is one message and exit code 1."""
    try:
        run(os.environ.get("CLUSTER_NAME", "drqueue"))
    except (DevclusterError, HelmError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()

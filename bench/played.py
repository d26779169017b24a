"""The programs of kwok's pods, which run nothing: masters and slaves as processes of this host."""

import base64
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.farm import free_port
from bench.plane import NAMESPACE, PODS, Plane
from bench.programs import Program, program

COMPONENT = "drqueue.org/component"
MASTER = (sys.executable, "-c", "from drqueue.farm.master.main import main; main()")
SLAVE = (sys.executable, "-m", "bench.noop_slave")


class Played:
    """Processes for one session's pods, by the pods' environment and Secrets."""

    def __init__(
        self, made: Plane, scratch: Path, port: int, slaves: Mapping[str, str] | None = None
    ) -> None:
        """`port`: where the master listens. `slaves`: more for the slaves' environment."""
        self._made, self._scratch, self._port = made, scratch, port
        self._slaves = dict(slaves or {})
        self._running: dict[str, contextlib.ExitStack] = {}
        self.programs: dict[str, Program] = {}
        """By the name of the pod."""
        (scratch / "volume").mkdir(exist_ok=True)

    def __enter__(self) -> "Played":
        return self

    def __exit__(self, *_: object) -> None:
        for uid in list(self._running):
            self._stop(uid)

    def tick(self, *components: str) -> None:
        """Start what runs by now and is not played yet, stop what is gone."""
        wanted = {}
        for pod in self._made.admin.ask("GET", PODS)["items"]:
            runs = pod["status"].get("phase") == "Running"
            if runs and "deletionTimestamp" not in pod["metadata"]:
                wanted[pod["metadata"]["uid"]] = pod
        for uid in [uid for uid in self._running if uid not in wanted]:
            self._stop(uid)
        for uid, pod in wanted.items():
            if uid not in self._running and _component(pod) in components:
                self._running[uid] = contextlib.ExitStack()
                running = self._running[uid].enter_context(self._play(pod))
                self.programs[pod["metadata"]["name"]] = running

    def _stop(self, uid: str) -> None:
        self._running.pop(uid).close()

    @contextlib.contextmanager
    def _play(self, pod: dict[str, Any]) -> Iterator[Program]:
        name = pod["metadata"]["name"]
        environment = {
            entry["name"]: entry["value"]
            for entry in pod["spec"]["containers"][0].get("env") or ()
            if "value" in entry
        }
        environment |= {
            "DRQUEUE_TLS": str(self._keys(name)),
            "DRQUEUE_HEALTH": f"127.0.0.1:{free_port()}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        master = _component(pod) == "master"
        environment |= self._of_master() if master else self._of_slave(environment)
        command = MASTER if master else SLAVE
        with program(command, self._scratch / f"{name}.log", environment) as running:
            yield running
            if not master:  # it would wait for its master, which may be gone
                running.process.send_signal(signal.SIGKILL)

    def _of_master(self) -> Mapping[str, str]:
        return {
            "DRQUEUE_VOLUME": str(self._scratch / "volume"),
            "DRQUEUE_LISTEN": f"127.0.0.1:{self._port}",
        }

    def _of_slave(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        url = environment["DRQUEUE_MASTER_URL"].rpartition(":")[0]
        return {
            "DRQUEUE_MASTER_URL": f"{url}:{self._port}",
            "DRQUEUE_WORK": str(self._scratch / "volume" / "work"),
            **self._slaves,
        }

    def _keys(self, secret: str) -> Path:
        folder = self._scratch / f"tls-{secret}"
        folder.mkdir(exist_ok=True)
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret}"
        for name, value in self._made.admin.ask("GET", path)["data"].items():
            (folder / name).write_bytes(base64.b64decode(value))
        return folder


def _component(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(COMPONENT, ""))

"""The operator as a process, with reconcilers that only say what they were called for."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from drqueue.control import logs
from drqueue.control.context import Context, Result
from drqueue.control.kinds import RECONCILED, Key
from drqueue.control.replica import Replica
from drqueue.control.settings import Settings

from tests.ports import Port

DEADLINE = 120.0


async def say(_: Context, key: Key) -> Result:
    """Print the key."""
    print(key, flush=True)  # noqa: T201 it is what the test reads
    return Result()


def main() -> None:
    """Run it, by the settings in the environment."""
    settings = Settings.from_env(os.environ)
    logs.set_up("plain", "INFO")
    reconcilers = dict.fromkeys(RECONCILED, say)
    asyncio.run(Replica(settings, reconcilers, lambda *_: {}).run())


class OperatorProcess:
    """One such process; `folder` takes its output."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        folder: Path,
        program: tuple[str, ...] = ("-m", "tests.api.operator_process"),
        **settings: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "out", folder / "err"
        self._port = Port()
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "DRQUEUE_NAMESPACE": namespace,
            "DRQUEUE_WATCH_NAMESPACES": namespace,
            "DRQUEUE_LISTEN": self._port.address,
            "DRQUEUE_LEADER_SECONDS": "30",
            **{f"DRQUEUE_{name}": value for name, value in settings.items()},
        }
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *program], env=environment, stdout=out, stderr=err
            )

    def errors(self) -> str:
        """What it said on stderr."""
        return self._err.read_text()

    def reconciled(self) -> list[str]:
        """The keys so far, in order, as kind/namespace/name."""
        return self._out.read_text().split()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of /healthz, /readyz or /metrics; (0, why) while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self._port.address}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry those labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name:
                carried = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                if labels.items() <= carried.items():
                    total += float(match[3])
        return total

    def wait(self, what: str, holds: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Wait for a condition; fails with what the operator said."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline or self._ended_before(holds):
                raise AssertionError(
                    f"not within {seconds} s: {what}\nreadyz {self.get('/readyz')}\nhealthz "
                    f"{self.get('/healthz')}\nreconciled {self.reconciled()[-20:]}\n"
                    f"exit {self.process.poll()}\n{self._err.read_text()[-4000:]}"
                )
            time.sleep(0.1)

    def _ended_before(self, holds: Callable[[], bool]) -> bool:
        return self.process.poll() is not None and not holds()

    def wait_leading(self) -> None:
        """Wait until it leads and has filled its store."""
        self.wait("leads", lambda: self.metric("drqueue_leader") == 1.0)
        self.wait("ready", lambda: self.get("/readyz")[0] == 200)

    def wait_reconciled(self, key: str, since: int = 0, seconds: float = DEADLINE) -> None:
        """Wait until the key was reconciled after the first `since` reconciles."""
        self.wait(f"{key} reconciled", lambda: key in self.reconciled()[since:], seconds)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; answers the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._port.close()
        return code

    def kill(self) -> None:
        """End it at once if it still runs, frozen or not."""
        self.process.kill()
        self.process.wait(60)
        self._port.close()


if __name__ == "__main__":
    main()

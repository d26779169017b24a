"""The operator is killed after each of its mutating requests over a session's whole life: the
books hold after each death, and the invoice is that of a life without any."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from drqueue.api.values import parse_time
from kubernetes import client

from tests.api.books import RUNS, PaidFarm, paid_farm
from tests.api.reconciling import Object
from tests.control_plane import Cluster
from tests.manifests import settled_seconds

PATIENCE = 300.0
"""Seconds for each step of the life: some take twenty operators."""


class Mortals:
    """Operators that die after each write, and what was seen after each death."""

    def __init__(self, farm: "MortalFarm", environment: dict[str, str], folder: Path) -> None:
        self.deaths: list[str] = []
        self.wrong: list[str] = []
        self.lived: dict[str, Object] = {}
        """The status that each RenderNode had last, by UID."""
        self._farm = farm
        self._log = folder / "operators.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.api.mortal_operator"],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._thread = threading.Thread(target=self._watch, name="deaths", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        assert self.process.stdout and self.process.stdin
        for line in self.process.stdout:
            self.deaths.append(line.strip())
            try:
                self._look(line.strip())
                self.process.stdin.write("go\n")
                self.process.stdin.flush()
            except (OSError, ValueError):
                return
            except Exception as error:
                self.wrong.append(f"after {line.strip()}: {error!r}")
                return

    def _look(self, death: str) -> None:
        """No operator runs: what there is now stays until the next one is let live."""
        if not re.match("(create|update|patch|apply|delete) ", death):
            self.wrong.append(death)
        for account in self._farm.entries("RenderAccount"):  # none yet after the first deaths
            wrong = self._farm.check(account["metadata"]["name"])
            self.wrong += [f"after {death}: {what}" for what in wrong]
        for node in self._farm.all("RenderNode"):
            self.lived[node["metadata"]["uid"]] = node.get("status") or {}
        for session in self._farm.all("RenderSession"):
            settled = settled_seconds(session.get("status") or {})
            if settled > self.node_seconds():
                self.wrong.append(f"after {death}: {settled} s settled, {self.lived} lived")

    def node_seconds(self) -> int:
        """Whole seconds from Ready to their end of all nodes that were seen to end."""
        ended = [s for s in self.lived.values() if s.get("readyAt") and s.get("endedAt")]
        spans = [parse_time(s["endedAt"]) - parse_time(s["readyAt"]) for s in ended]
        return sum(int(span.total_seconds()) for span in spans)

    def errors(self) -> str:
        """What the operators said, and how they died."""
        lines = [line for line in self._log.read_text().splitlines() if " INFO " not in line]
        return "\n".join([*lines[-20:], *self.deaths[-20:], *self.wrong])

    def kill(self) -> None:
        """End them all."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)
        self._thread.join(60)


class MortalFarm(PaidFarm):
    """A paid farm whose operators die."""

    operator: Mortals  # type: ignore[assignment]

    def start_operator(self, **settings: str) -> Mortals:  # type: ignore[override]
        environment = {
            "KUBECONFIG": str(self._cluster.kubeconfig),
            "DRQUEUE_NAMESPACE": self.billing,
            "DRQUEUE_BILLING_NAMESPACE": self.billing,
            "DRQUEUE_WATCH_NAMESPACES": self.namespace,
            "DRQUEUE_LISTEN": "127.0.0.1:0",
            "DRQUEUE_IDENTITY": "mortal",
            "DRQUEUE_MASTER_ADDRESS": self.master.port.address,
            **settings,
        }
        self.operator = Mortals(self, environment, self._folder)
        return self.operator

    def step(self, what: str, seconds: float = PATIENCE, **sums: str) -> None:
        """Wait until the account has these sums, through any number of deaths."""
        exact = {name: Decimal(amount) for name, amount in sums.items()}
        self.wait(what, lambda: exact.items() <= self.sums().items(), seconds)
        assert not self.operator.wrong, self.operator.errors()


@pytest.fixture
def mortal(
    cluster: Cluster, api_client: client.ApiClient, namespace: str, tmp_path: Path
) -> Iterator[MortalFarm]:
    """Give a paid farm whose operators die after each write."""
    made = MortalFarm(cluster, api_client, namespace, tmp_path)
    with paid_farm(made):
        yield made


@pytest.mark.timeout(1800)
def test_the_books_hold_whatever_write_is_the_last(mortal: MortalFarm) -> None:
    mortal.open_account()
    session = mortal.make("RenderSession", spec__nodes=2, spec__renderTime="30m")
    mortal.make("RenderJob", **RUNS)
    mortal.pay("20", "too-little")
    mortal.step("what is too little is booked", paid="20", reserved="0")
    mortal.pay("30", "enough")
    mortal.step("it is reserved", paid="50", reserved="36", balance="14")
    mortal.wait("two nodes render", lambda: ready(mortal) == 2, PATIENCE)
    mortal.pay("-10", "back")
    mortal.step("some is paid back", paid="40", balance="4")
    mortal.patch("RenderSession", "teapots", {"spec": {"renderTime": "40m"}})
    mortal.pay("8", "more")
    mortal.step("the raise is reserved", paid="48", reserved="48", balance="0")
    mortal.patch("RenderSession", "teapots", {"spec": {"nodes": 1}})
    mortal.step("half is given back", paid="48", reserved="24", balance="24")
    mortal.patch("RenderSession", "teapots", {"spec": {"renderTime": "1s"}})
    mortal.wait(
        "it is used up, and its nodes are settled",
        lambda: used_up(mortal),
        PATIENCE,
    )
    mortal.patch("RenderSession", "teapots", {"spec": {"renderTime": "20m"}})
    mortal.step("more is bought", paid="48", reserved="12", balance="36")
    mortal.wait("a node renders again", lambda: ready(mortal) == 1, PATIENCE)
    mortal.delete("RenderSession", "teapots")
    mortal.wait(
        "the session is gone", lambda: mortal.get("RenderSession", "teapots") is None, PATIENCE
    )
    bill = mortal.invoice(session)
    mortal.step("it is invoiced", paid="48", reserved="0", invoiced=bill["total"])
    assert Decimal(bill["total"]) == bill["usedSeconds"] * Decimal("0.01")
    assert bill["priced"] == {"nodes": 1, "seconds": 1200, "amount": "12.00"}
    assert 0 < bill["usedSeconds"] <= mortal.operator.node_seconds()
    assert len(mortal.operator.deaths) > 80, mortal.operator.deaths
    assert not mortal.operator.wrong, mortal.operator.errors()


def ready(mortal: MortalFarm) -> int:
    nodes = [node.get("status") or {} for node in mortal.all("RenderNode")]
    return sum(node.get("phase") == "Ready" for node in nodes)


def used_up(mortal: MortalFarm) -> bool:
    status = mortal.status("RenderSession", "teapots")
    over = status.get("phase") == "Exhausted" and not status["settling"]
    return over and not mortal.all("RenderNode")

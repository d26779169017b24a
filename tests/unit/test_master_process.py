"""A master and slaves as real processes: killed, frozen, ended; and a master with 1,000 slaves."""

import asyncio
import json
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from drqueue.farm.protocol import VERSION_HEADER, JobReport, WorkReport
from drqueue.security.identity import Identity

from tests.unit.farm_testing import order
from tests.unit.master_testing import (
    OFFER,
    SESSION,
    Caller,
    Keys,
    Program,
    SlaveProgram,
    client_context,
    read_frames,
)

STARTED = 'echo "$DRQUEUE_FRAME" >> "$DRQUEUE_WORKFOLDER/started"'
GATE = 'while [ ! -e "$DRQUEUE_WORKFOLDER/gate" ]; do sleep 0.05; done'
OUTPUT = 'echo "$DRQUEUE_ATTEMPT" > "out.$DRQUEUE_PADFRAME"'
RENDER = f"{STARTED}; {GATE}; {OUTPUT}"


class RealFarm:
    """A master's process and two slaves'."""

    def __init__(self, root: Path, lease_seconds: float) -> None:
        self.keys = Keys(root / "tls")
        self.master = Program(self.keys, root, lease_seconds)
        self.slaves: list[SlaveProgram] = []
        folder = self.keys.folder("operator", Identity("operator"))
        self.operator = Caller(lambda: self.master.url, folder)
        self.work = self.master.volume / "work"

    async def start(self, slaves: int = 2) -> None:
        await self.master.start()
        self.slaves = [SlaveProgram(self.keys, self.master, f"n{n}") for n in range(slaves)]

    def open_gate(self) -> None:
        (self.work / "gate").touch()

    def started(self) -> Counter[int]:
        path = self.work / "started"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def outputs(self) -> dict[str, str]:
        return {p.name: p.read_text().strip() for p in self.work.glob("outputs/job-1/out.*")}

    async def close(self) -> None:
        await self.operator.session.close()
        for slave in self.slaves:
            slave.stop()
        self.master.close()


@pytest_asyncio.fixture
async def farm(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RealFarm]:
    made = RealFarm(tmp_path, getattr(request, "param", 60.0))
    try:
        yield made
        logs = [slave.log.read_text() for slave in made.slaves]
        assert "Traceback" not in made.master.log.read_text() + "".join(logs)
    finally:
        await made.close()


def credited_once(farm: RealFarm, frames: range) -> None:
    """Every frame counts once, and what lies in the output folder is what counted."""
    rows = read_frames(farm.master, "job-1")
    assert list(rows) == list(frames)
    assert {row["state"] for row in rows.values()} == {"succeeded"}
    assert farm.outputs() == {f"out.{frame:04}": str(row["attempt"]) for frame, row in rows.items()}


async def test_master_killed_while_two_slaves_render(farm: RealFarm) -> None:
    await farm.start()
    job = order(frames="1-6", parameters={"Command": RENDER}, output_files=("out.####",))
    await farm.operator.put(job)
    await farm.operator.until("job-1", lambda job: job.running == 2)
    before = (await farm.operator.changes()).nodes
    farm.master.kill()
    # both frames end while there is no master
    farm.open_gate()
    await asyncio.sleep(0.5)
    await farm.master.start()
    await farm.operator.until("job-1", lambda job: job.state == "succeeded", 120)
    credited_once(farm, range(1, 7))
    assert farm.started() == Counter(range(1, 7)), "no frame was rendered twice"
    assert {node.block for node in before} == {"job-1/1", "job-1/2"}


def _has_succeeded(count: int) -> Callable[[JobReport], bool]:
    return lambda job: job.succeeded >= count


async def test_master_killed_again_and_again(farm: RealFarm) -> None:
    await farm.start()
    farm.open_gate()
    frames = range(1, 61)
    job = order(
        frames="1-60", block_size=3, parameters={"Command": RENDER}, output_files=("out.####",)
    )
    await farm.operator.put(job)
    for kill in range(1, 5):
        await farm.operator.until("job-1", _has_succeeded(10 * kill), 120)
        farm.master.kill()
        await farm.master.start()
    await farm.operator.until("job-1", lambda job: job.state == "succeeded", 120)
    credited_once(farm, frames)
    assert farm.started() == Counter(frames), "no frame was rendered twice"


@pytest.mark.parametrize("farm", [5.0], indirect=True)
async def test_frozen_slave_comes_back(farm: RealFarm) -> None:
    await farm.start()
    # on a slow machine the other slave may seem silent too: that is not to fail the job
    job = order(frames="1-2", retries=5, parameters={"Command": RENDER}, output_files=("out.####",))
    await farm.operator.put(job)
    await farm.operator.until("job-1", lambda job: job.running == 2)
    frozen = farm.slaves[0].process
    frozen.send_signal(signal.SIGSTOP)
    await farm.operator.until("job-1", lambda job: job.running == 1)
    farm.open_gate()
    await farm.operator.until("job-1", lambda job: job.state == "succeeded", 120)
    good = farm.outputs()
    frozen.send_signal(signal.SIGCONT)
    # told to drop it, it asks for another: a job that only it can take now
    farm.slaves[1].stop()
    await farm.operator.put(order("after", frames="1", parameters={"Command": "true"}))
    await farm.operator.until("after", lambda job: job.state == "succeeded", 120)
    assert farm.outputs() == good
    credited_once(farm, range(1, 3))
    report = await farm.operator.job("job-1")
    assert "silent" in report.last_error


async def test_sigterm_closes_at_once_while_slaves_wait(farm: RealFarm) -> None:
    await farm.start()
    await farm.operator.put(order(frames="1", parameters={"Command": "true"}))
    await farm.operator.until("job-1", lambda job: job.state == "succeeded", 120)
    started = time.monotonic()
    assert farm.master.terminate() == 0
    assert time.monotonic() - started < 8
    await farm.master.start()
    credited_before = read_frames(farm.master, "job-1")
    assert credited_before[1]["state"] == "succeeded"


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    program = Program(Keys(tmp_path / "tls"), tmp_path)
    for name, value in (
        ("DRQUEUE_SESSION_UID", ""),
        ("DRQUEUE_LEASE_SECONDS", "soon"),
        ("DRQUEUE_LISTEN", "nowhere"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", "from drqueue.farm.master.main import main; main()"],
            env=program.environment | {name: value},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 2
        assert name in json.loads(ended.stderr.splitlines()[-1])["message"]
    program.close()


SLAVES = 1000
MOST_BYTES = 150_000_000


async def _hold(port: int, context: ssl.SSLContext, report: bytes) -> asyncio.StreamWriter:
    """A connection with a request that the master holds."""
    reader, writer = await asyncio.open_connection(
        "localhost", port, ssl=context, server_hostname="localhost", limit=4096
    )
    writer.write(
        b"POST /v1/work HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"{VERSION_HEADER}: 1\r\nContent-Length: {len(report)}\r\n\r\n".encode()
        + report
    )
    await writer.drain()
    del reader
    return writer


async def test_thousand_slaves_fit_in_150_megabytes(farm: RealFarm) -> None:
    """Each with a held request. A slave that renders and prints keeps a second connection, for its
    reports: that figure is printed beside."""
    await farm.start(slaves=0)
    await farm.operator.put(order(frames="1-1000000", limits={"pool": "nowhere"}))
    waiting = WorkReport(offer=OFFER, wants_lease=True, wait_seconds=30).model_dump_json().encode()
    report = WorkReport(offer=OFFER).model_dump_json().encode()
    contexts = []
    for number in range(SLAVES):
        name = f"m{number}"
        folder = farm.keys.folder(name, Identity("node", SESSION, name, f"{name}-uid"))
        contexts.append(client_context(folder))
    port = farm.master.port.number
    writers = []
    peaks = []
    for count, body in enumerate((waiting, report), 1):
        for first in range(0, SLAVES, 20):
            batch = contexts[first : first + 20]
            writers += await asyncio.gather(*[_hold(port, c, body) for c in batch])
        # what it answers now, it answers behind all that
        await farm.operator.ask("GET", "/v1/jobs/job-1/work")
        assert farm.master.process is not None
        status = Path(f"/proc/{farm.master.process.pid}/status").read_text().splitlines()
        peaks.append(next(int(x.split()[1]) for x in status if x.startswith("VmHWM")) * 1024)
        assert _connections(port) >= count * SLAVES
    for writer in writers:
        writer.transport.abort()
    figures = ", ".join(f"{peak / 1e6:.0f} MB" for peak in peaks)
    print(f"a master with {SLAVES} slaves, one connection each, then two: {figures}")  # noqa: T201
    assert peaks[0] <= MOST_BYTES


def _connections(port: int) -> int:
    wanted = f"{port:04X}"
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return sum(line[1].endswith(f":{wanted}") and line[3] == "01" for line in lines)

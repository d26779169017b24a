"""No-op frames a second through one journaled master and 2 slaves, against ipyparallel and Dask."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from drqueue.farm.protocol import JobOrder

from bench import peers
from bench.farm import BareFarm, master, slaves
from bench.figures import Figure

SECONDS = 8.0
FRAMES = 200_000


def measure(scratch: Path) -> list[Figure]:
    """Measure peers and DrQueue in turn."""
    ipyparallel = _rate(peers.run("ipyparallel_dispatch.py", str(SECONDS)))
    singles = _dispatch(scratch / "singles", 1)
    distributed = _rate(peers.run("distributed_dispatch.py", str(SECONDS)))
    blocks = _dispatch(scratch / "blocks", 10)
    better = max(ipyparallel, distributed)
    return [
        Figure("dispatch", "ipyparallel (CurveZMQ), 2 engines", ipyparallel, "frames/s"),
        Figure("dispatch", "distributed (TLS), 2 workers", distributed, "frames/s"),
        Figure("dispatch", "DrQueue, single frames", singles, "frames/s"),
        Figure("dispatch", "DrQueue, blocks of 10", blocks, "frames/s"),
        Figure("dispatch", "single frames / the better peer", singles / better, "×", "≥ 2"),
        Figure("dispatch", "blocks of 10 / the better peer", blocks / better, "×", "≥ 10"),
    ]


def _rate(answer: dict[str, float]) -> float:
    return answer["frames"] / answer["seconds"]


def _dispatch(scratch: Path, block_size: int) -> float:
    with (
        master(scratch) as farm,
        slaves(farm, 2, [sys.executable, "-m", "bench.noop_slave"]),
    ):
        farm.put(_order(block_size))
        farm.wait_succeeded("noop", 50 * block_size, 60)  # connections are not counted
        return _frames_a_second(farm)


def _frames_a_second(farm: BareFarm) -> float:
    first, start = farm.succeeded("noop"), time.perf_counter()
    time.sleep(SECONDS)  # the stretch that is measured
    return (farm.succeeded("noop") - first) / (time.perf_counter() - start)


def _order(block_size: int) -> JobOrder:
    return JobOrder(
        uid="noop",
        generation=1,
        name="noop",
        owner="bench",
        created_at=datetime.now(UTC),
        priority=50,
        frames=f"1-{FRAMES}",
        block_size=block_size,
        retries=1,
        renderer="general",
        parameters={"Command": "true"},
        output_folder="outputs/noop",
    )

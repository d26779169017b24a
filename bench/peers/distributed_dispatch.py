"""Frames through Dask's distributed with TLS, 2 worker processes: tasks a second.

python distributed_dispatch.py SECONDS
"""

import json
import sys
import time

import distributed
from distributed.security import Security


def frame(number: int) -> int:
    return number


def main() -> None:
    """Measure and print one line of JSON."""
    seconds = float(sys.argv[1])
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            security=Security.temporary(),
            protocol="tls://",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.gather(client.map(frame, range(50), pure=False))
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            client.gather(client.map(frame, range(100), pure=False))
            done += 100
        took = time.perf_counter() - start
    print(json.dumps({"frames": done, "seconds": took, "version": distributed.__version__}))


if __name__ == "__main__":
    main()

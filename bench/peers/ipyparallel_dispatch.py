"""Frames through a bare ipyparallel load-balanced view, CurveZMQ on, 2 engines: tasks a second.

python ipyparallel_dispatch.py SECONDS
"""

import json
import sys
import time

import ipyparallel


def frame(number: int) -> int:
    return number


def main() -> None:
    """Measure and print one line of JSON."""
    seconds = float(sys.argv[1])
    cluster = ipyparallel.Cluster(
        n=2,
        controller_args=["--IPController.enable_curve=True"],
        log_level=40,
    )
    client = cluster.start_and_connect_sync()
    try:
        view = client.load_balanced_view()
        view.map_sync(frame, range(50), chunksize=1)  # imports and connections are not counted
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            view.map_sync(frame, range(100), chunksize=1)
            done += 100
        took = time.perf_counter() - start
    finally:
        client.shutdown(hub=True)
    print(json.dumps({"frames": done, "seconds": took, "version": ipyparallel.__version__}))


if __name__ == "__main__":
    main()

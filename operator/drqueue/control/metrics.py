"""What Prometheus sees. Gauges of what exists are counted from the store at the scrape."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from drqueue.control.store import Store

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FRAME_STATES = ("waiting", "running", "succeeded", "failed")


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.queue_latency = Histogram(
            "drqueue_queue_latency_seconds",
            "From when a key was due until a worker took it.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._reconcile = Histogram(
            "drqueue_reconcile_seconds",
            "How long reconciles took, by kind and result (done, or the sort of error).",
            ["kind", "result"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._requests = Counter(
            "drqueue_api_requests",
            "Requests to the API server by verb, kind and code (0: no answer).",
            ["verb", "kind", "code"],
            registry=self.registry,
        )
        self.leader = Gauge(
            "drqueue_leader", "1 while this replica holds the Lease.", registry=self.registry
        )
        self.refused = Gauge(
            "drqueue_tenant_refused",
            "1 for each of watchNamespaces that is left out, for it cannot be read.",
            ["tenant"],
            registry=self.registry,
        )
        self.watch_events = Counter(
            "drqueue_watch_events",
            "Events that a watch delivered, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.sweeps = Counter(
            "drqueue_sweeps",
            "LIST sweeps by kind and why: routine, asked (a watch began anew), or doubt (a watch "
            "owes what was seen elsewhere).",
            ["kind", "why"],
            registry=self.registry,
        )
        self.missed = Counter(
            "drqueue_watch_missed",
            "Changes that a LIST sweep found before any watch delivered them, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.stall = Gauge(
            "drqueue_loop_stall_seconds",
            "The longest time in the last minute for which the event loop answered nobody.",
            registry=self.registry,
        )
        self.master_requests = Counter(
            "drqueue_master_requests",
            "Requests to the sessions' masters by what and code (0: no answer).",
            ["what", "code"],
            registry=self.registry,
        )

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """Count one reconcile."""
        self._reconcile.labels(kind, result).observe(seconds)

    def requested(self, verb: str, kind: str, code: int) -> None:
        """Count one request to the API server."""
        self._requests.labels(verb, kind, str(code)).inc()

    def watch_queue(self, depth: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Report the queue at each scrape."""
        for name, what, count in (
            ("drqueue_queue_depth", "Keys that are due.", depth),
            ("drqueue_queue_waiting", "Keys that are due now or later.", waiting),
        ):
            Gauge(name, what, registry=self.registry).set_function(count)

    def watch_store(self, store: Store) -> None:
        """Report objects, nodes and frames at each scrape."""
        self.registry.register(_StoreCollector(store))


class _StoreCollector(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        objects = GaugeMetricFamily("drqueue_objects", "Objects stored, by kind.", labels=["kind"])
        for kind, count in sorted(self._store.counts().items()):
            objects.add_metric([kind], count)
        yield objects
        for name, what, kind in (
            ("drqueue_sessions", "Sessions by phase.", "RenderSession"),
            ("drqueue_jobs", "Jobs by phase.", "RenderJob"),
            ("drqueue_nodes", "Nodes by phase.", "RenderNode"),
        ):
            phases = Tally(
                (obj.get("status") or {}).get("phase") or "New" for obj in self._store.iterate(kind)
            )
            family = GaugeMetricFamily(name, what, labels=["phase"])
            for phase, count in sorted(phases.items()):
                family.add_metric([phase], count)
            yield family
        frames: Tally[str] = Tally(dict.fromkeys(_FRAME_STATES, 0))
        for job in self._store.iterate("RenderJob"):
            counts = (job.get("status") or {}).get("frames") or {}
            for state in _FRAME_STATES:
                frames[state] += counts.get(state, 0)
        family = GaugeMetricFamily(
            "drqueue_frames", "Frames of all jobs by state.", labels=["state"]
        )
        for state in _FRAME_STATES:
            family.add_metric([state], frames[state])
        yield family

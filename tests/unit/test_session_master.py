"""A master that the API server refuses: it is said, and one that runs is not given up for it."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from drqueue.control.children import SessionId
from drqueue.control.conditions import Finding
from drqueue.control.errors import Forbidden, Invalid, NamespaceEnding, NoCapacity, Passing
from drqueue.control.kinds import Key, Object
from drqueue.control.session_master import ensure_master
from drqueue.control.session_volume import Volume

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SESSION = SessionId("studio", "teapots", "uid-0")
VOLUME = Volume("claim", Finding("VolumeReady", "True", "Bound"))
READY = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def context(error: Exception, pod: Object | None) -> Any:
    """What `ensure_master` uses of a context; every write is refused."""

    async def apply(_: Object) -> Object:
        raise error

    key = Key("Pod", SESSION.namespace, SESSION.master)
    issued = SimpleNamespace(renew_at=NOW + timedelta(days=20), secret_data=dict)
    return SimpleNamespace(
        clock=lambda: NOW,
        store=SimpleNamespace(get=lambda asked: pod if asked == key else None),
        client=SimpleNamespace(apply=apply),
        settings=SimpleNamespace(namespace="drqueue-system"),
        ca=SimpleNamespace(issue=lambda *_, **__: issued, fingerprint="f"),
        masters=SimpleNamespace(start=lambda *_: None),
    )


@pytest.mark.parametrize("kind", [NoCapacity, Forbidden, Invalid])
@pytest.mark.parametrize(
    ("pod", "state", "ready"), [(None, "Starting", "False"), (READY, "Running", "True")]
)
async def test_a_refusal_is_said(
    kind: type[Exception], pod: Object | None, state: str, ready: str
) -> None:
    master = await ensure_master(context(kind("exceeded quota"), pod), SESSION, VOLUME, True)
    assert (master.state, master.finding.status) == (state, ready)
    assert master.trouble is not None
    assert (master.trouble.reason, master.finding.message) == ("MasterRefused", "exceeded quota")
    assert master.look_again == 60.0


@pytest.mark.parametrize("kind", [Passing, NamespaceEnding])
async def test_what_passes_is_raised(kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await ensure_master(context(kind("a webhook is away"), None), SESSION, VOLUME, True)

"""Following objects through an API server that is away, busy, or has just started."""

from pathlib import Path
from typing import Any

import pytest
from drqueue.cli.cluster import START_SECONDS, Cluster, may_pass
from drqueue.cli.connect import Connection
from drqueue.cli.errors import ApiError, UnreachableError
from drqueue.cli.kinds import JOB

BROKEN = UnreachableError("no route")


def refusal(status: int) -> ApiError:
    """Build a refusal."""
    return ApiError(status, b"{}", "jobs")


@pytest.mark.parametrize(
    ("problem", "seconds", "passes"),
    [
        (BROKEN, 10_000, True),
        (refusal(429), 10_000, True),
        (refusal(503), 10_000, True),
        (refusal(403), 0, True),
        (refusal(404), START_SECONDS - 1, True),
        (refusal(403), START_SECONDS, False),
        (refusal(422), 0, False),
    ],
)
def test_which_failures_may_pass(problem: Any, seconds: float, passes: bool) -> None:
    assert may_pass(problem, seconds) is passes


class Scripted(Cluster):
    """A cluster whose lists and watches come from a script; a pause is a second of its clock."""

    def __init__(self, lists: list[Any]) -> None:
        self.seconds = 0.0
        self.said: list[str] = []
        connection = Connection(None, "https://test", "default")
        super().__init__(connection, lambda: self.seconds, self._passes, self.said.append)
        self._script = lists

    def _passes(self, seconds: float) -> None:
        self.seconds += seconds

    def _list(self, *_: Any) -> Any:
        step = self._script.pop(0) if self._script else BROKEN
        if isinstance(step, Exception):
            raise step
        return [{"metadata": {"name": name}} for name in step], "7"

    def _watch(self, *_: Any, **__: Any) -> Any:
        yield {}
        raise BROKEN


def test_a_server_that_goes_away_and_comes_back_is_followed_on() -> None:
    cluster = Scripted([["a"], BROKEN, BROKEN, refusal(404), refusal(403), ["a", "b"]])
    seen = [sorted(known) for known in cluster.changes(JOB, "default", deadline=8)]
    assert seen == [["a"], [], ["a", "b"], []]
    # once for each time away
    assert cluster.said == ["no route; trying again"] * 2


@pytest.mark.parametrize("problem", [BROKEN, refusal(403), refusal(500)])
def test_a_server_that_never_answered_is_not_waited_for(problem: Exception) -> None:
    cluster = Scripted([problem])
    with pytest.raises(type(problem)):
        list(cluster.changes(JOB, "default", deadline=1000))
    assert cluster.seconds == 0


def test_a_right_that_was_taken_away_ends_it() -> None:
    cluster = Scripted([["a"], *[refusal(403)] * 1000])
    with pytest.raises(ApiError):
        list(cluster.changes(JOB, "default"))
    assert START_SECONDS <= cluster.seconds <= START_SECONDS + 2


def test_an_old_version_is_listed_anew_at_once(tmp_path: Path) -> None:
    cluster = Scripted([["a"], refusal(410), ["b"]])
    seen = [sorted(known) for known in cluster.changes(JOB, "default", deadline=2)]
    assert seen[:3] == [["a"], [], ["b"]]

from typing import Any

import pytest
from drqueue.control import errors
from drqueue.control.errors import from_response, sort_of

ENDING = {
    "reason": "Forbidden",
    "message": 'secrets "x" is forbidden: unable to create new content in namespace a',
    "details": {"causes": [{"reason": "NamespaceTerminating"}]},
}


@pytest.mark.parametrize(
    ("status", "body", "what", "expected"),
    [
        (404, {"reason": "NotFound"}, "get /x", errors.NotFound),
        (404, {"details": {"kind": "namespaces"}}, "create /x", errors.NamespaceEnding),
        (404, {"details": {"kind": "namespaces"}}, "get /x", errors.NotFound),
        (403, ENDING, "create /x", errors.NamespaceEnding),
        (403, {"message": "exceeded quota: pods, requested: 1"}, "create /x", errors.NoCapacity),
        (403, {"message": "User cannot get secrets"}, "get /x", errors.Forbidden),
        (409, {"reason": "AlreadyExists"}, "create /x", errors.AlreadyExists),
        (409, {"reason": "Conflict"}, "update /x", errors.Conflict),
        (410, {"reason": "Expired"}, "list /x", errors.Conflict),
        (422, {"reason": "Invalid"}, "create /x", errors.Invalid),
        (400, None, "create /x", errors.Invalid),
        (413, None, "create /x", errors.Invalid),
        (401, None, "get /x", errors.Passing),
        (429, None, "get /x", errors.Passing),
        (500, None, "get /x", errors.Passing),
        (503, None, "get /x", errors.Passing),
        (504, {"reason": "Timeout"}, "create /x", errors.Passing),
    ],
)
def test_refusals_are_sorted(
    status: int, body: dict[str, Any] | None, what: str, expected: type[Exception]
) -> None:
    error = from_response(status, body, None, what)
    assert type(error) is expected
    assert error.status == status
    assert what in str(error)


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("7", None, 7.0),
        ("Wed, 25 Nov 2026 12:00:00 GMT", None, None),
        (None, {"details": {"retryAfterSeconds": 3}}, 3.0),
        ("7", {"details": {"retryAfterSeconds": 3}}, 7.0),
        (None, {}, None),
    ],
)
def test_retry_after_is_read(
    header: str | None, body: dict[str, Any] | None, seconds: float | None
) -> None:
    error = from_response(429, body, header, "get /x")
    assert isinstance(error, errors.Passing)
    assert error.retry_after == seconds


def test_the_servers_sentence_is_kept() -> None:
    error = from_response(422, {"message": "spec.nodes: write 1 or more"}, None, "create /x")
    assert str(error) == "create /x: spec.nodes: write 1 or more"


def test_what_is_not_sorted_is_a_bug() -> None:
    assert sort_of(KeyError("x")) == "bug"
    assert sort_of(errors.MasterAway("gone")) == "passing"

"""The rounds of accounts, payments, sessions and nodes in the model: drqueue.billing, carried out.

Accounts, payments and the leave of a session are the product's own generators; sessions and nodes
do here what matters of them for money, in the order that their reconcilers keep to.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from drqueue.api.names import FINALIZER
from drqueue.billing import grants, rounds, settlement
from drqueue.billing.books import Funding, Session
from drqueue.billing.prices import read_terms
from drqueue.billing.records import (
    books_uid,
    own_status,
    read_account,
    read_payment,
    read_session,
    write_funding,
)
from drqueue.billing.settlement import NodeTime

from tests.unit.ledger_world import (
    ROUNDS,
    ConflictError,
    Key,
    Object,
    Operator,
    Request,
    Round,
    Server,
    moment,
    with_finalizer,
)

BOOKS = "books"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
"""Before any node was Ready, also where the clock went back since it was made."""


def _write(op: Operator, obj: Object, status: dict[str, Any]) -> Request:
    return Request("write", lambda server: op.took(server.write_status(obj, status)))


def _perform(op: Operator, step: rounds.Step) -> Request:
    if isinstance(step, rounds.GetLive):
        key = (step.kind, step.namespace or "", step.name)
        return Request("get", lambda server: server.get(key))
    if isinstance(step, rounds.WriteStatus):
        return _write(op, dict(step.obj), step.status)
    return Request("create", lambda server: _create(server, step.obj))


def _create(server: Server, obj: Object) -> None:
    meta = obj["metadata"]
    if server.get((obj["kind"], meta["namespace"], meta["name"])) is None:
        server.create(obj["kind"], meta["namespace"], meta["name"], spec=obj["spec"])


def account(op: Operator, key: Key) -> Round:
    obj = op.cache.get(key)
    if obj is None:
        return
    classes = {
        c["metadata"]["name"]: read_terms(c["spec"]["price"]) if c["spec"].get("price") else None
        for c in op.all("RenderNodeClass")
    }
    steps = rounds.account_round(
        obj,
        op.all("RenderPayment"),
        op.all("RenderSession"),
        classes,
        [i["spec"]["sessionUid"] for i in op.all("RenderInvoice")],
    )
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        answer = yield _perform(op, step)


def payment(op: Operator, key: Key) -> Round:
    obj = op.cache.get(key)
    if obj is None:
        return
    found = op.cache.get(("RenderAccount", BOOKS, obj["spec"]["accountName"]))
    step = rounds.next_phase(read_payment(obj), read_account(found) if found else None)
    status = {**(obj.get("status") or {}), "phase": step.phase}
    if found and step.phase in ("Booking", "Booked"):
        status.setdefault("accountUid", books_uid(found))
    yield _write(op, obj, status)


def session(op: Operator, key: Key) -> Round:
    obj = op.cache.get(key)
    if obj is None:
        return
    if "deletionTimestamp" not in obj["metadata"] and not with_finalizer(obj):
        held = obj
        obj = yield Request(
            "finalizer", lambda server: op.took(server.set_finalizers(held, [FINALIZER]))
        )
    assert obj is not None
    if not with_finalizer(obj):
        return
    if read_session(obj).settled:
        yield from _leave(op, obj)
        return
    obj = yield from _session_status(op, obj)
    yield from _session_nodes(op, obj)


def _leave(op: Operator, obj: Object) -> Round:
    steps = rounds.leave(read_session(obj), BOOKS, lambda uid: f"invoice-{uid}")
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            if end.value.may:
                yield Request("finalizer", lambda server: op.took(server.set_finalizers(obj, [])))
            return
        answer = yield _perform(op, step)


def _session_status(op: Operator, obj: Object) -> Any:
    status = own_status(obj)
    seen = read_session(obj)
    funding = seen.funding
    old = {
        entry["uid"]: datetime.fromisoformat(entry["since"]) for entry in status.get("unpaid") or ()
    }
    nodes = _nodes(op.all("RenderNode"), seen, old)
    settling = tuple((e["uid"], e["seconds"]) for e in status.get("settling") or ())
    granted, now = _granted(seen, funding), op.server.now
    settled = settlement.settle(seen.days, settling, nodes, granted)
    final = seen.deleting and all(node.ended_at for node in nodes)
    final = final or bool(settlement.used_up(settled, nodes, granted, now))
    if final or settlement.needs_live(settling, nodes):
        # of one moment after this version of the session
        listed = yield Request("list", lambda server: server.all("RenderNode"))
        there = {node.uid for node in _nodes(listed, seen, old)}
        lacking = there - {node.uid for node in nodes}
        if lacking and (final or lacking & {uid for uid, _ in settling}):
            raise ConflictError(f"the cache lacks {lacking}")
        nodes = [node for node in nodes if node.uid in there]
    settled = settlement.settle(seen.days, settling, nodes, granted)
    running = settlement.running_seconds(settlement.still_running(settled, nodes), now)
    used = max(settled.total, min(settled.total + running, granted))
    marks = {**settlement.used_up(settled, nodes, granted, now), **old}
    for uid, _ in settled.settling:
        marks.pop(uid, None)
    made = {
        **status,
        "settledDays": [{"day": d, "seconds": n} for d, n in settled.days.items()],
        "settling": [{"uid": uid, "seconds": n} for uid, n in settled.settling],
        "unpaid": [{"uid": uid, "since": at.isoformat()} for uid, at in sorted(marks.items())],
        "phase": "Exhausted" if used >= granted else "Active",
    }
    offered = op.cache.get(("RenderNodeClass", "", seen.class_name))
    decided = seen.deleting or (funding is not None and funding.state != "Awaiting")
    if not decided and offered is not None and not offered["spec"].get("price"):
        offered = yield Request(
            "get", lambda server: server.get(("RenderNodeClass", "", seen.class_name))
        )
    after = _funding(op, seen, funding, used, offered)
    if after is not None:
        made["funding"] = {**write_funding(after), "sessionUid": seen.uid}
    if seen.deleting and not nodes:
        made["settled"] = True
    written = yield _write(op, obj, made)
    return written


def _granted(seen: Session, funding: Funding | None) -> int:
    if funding is None or funding.state == "Awaiting":
        return 0
    return seen.seconds if funding.state == "Free" else funding.seconds


def _funding(
    op: Operator, seen: Session, old: Funding | None, used: int, offered: Object | None
) -> Funding | None:
    if seen.deleting or (old is not None and old.state == "Free"):
        return old
    if old is not None and old.state == "Funded":
        return grants.grant(seen, old.account, _reservation(op, old.account, seen), used)
    if offered is not None and not offered["spec"].get("price"):
        return Funding("Free")
    listing = [a for a in op.all("RenderAccount") if seen.namespace in a["spec"]["namespaces"]]
    if len(listing) != 1:
        return old
    name = listing[0]["metadata"]["name"]
    asked = old is not None and old.state == "Awaiting" and old.account == name
    entry = _reservation(op, name, seen) if asked else None
    if entry is not None:
        return grants.grant(seen, name, entry, used)
    return Funding("Awaiting", name, "EUR", generation=old.generation if old else 0)


def _reservation(op: Operator, name: str, seen: Session) -> Any:
    found = op.cache.get(("RenderAccount", BOOKS, name))
    return read_account(found).reservations.get(seen.uid) if found else None


def _nodes(objects: list[Object], seen: Session, marks: dict[str, datetime]) -> list[NodeTime]:
    return [
        NodeTime(
            obj["metadata"]["uid"],
            moment((obj.get("status") or {}).get("readyAt")),
            moment((obj.get("status") or {}).get("endedAt")),
            unpaid_since=marks.get(obj["metadata"]["uid"]),
            made_at=LONG_AGO,
        )
        for obj in objects
        if obj["spec"]["sessionUid"] == seen.uid
    ]


def _session_nodes(op: Operator, obj: Object) -> Round:
    """Make a node where there is time for one; delete those that are settled, or not needed."""
    seen, status = read_session(obj), own_status(obj)
    mine = [n for n in op.all("RenderNode") if n["spec"]["sessionUid"] == seen.uid]
    settled = {entry["uid"] for entry in status.get("settling") or ()}
    granted = _granted(seen, seen.funding)
    stop = seen.deleting or seen.suspended or seen.used >= granted
    for node in mine:
        uid, where = (
            node["metadata"]["uid"],
            ("RenderNode", seen.namespace, node["metadata"]["name"]),
        )
        if stop or uid in settled:
            yield Request("delete", partial(Server.delete, key=where, uid=uid))
    if not stop and len(mine) < min(seen.nodes, 3):
        index = len([n for n in op.server.log if n[0][0] == "RenderNode"])
        yield Request(
            "create",
            lambda server: server.create(
                "RenderNode",
                seen.namespace,
                f"{seen.name}-{index}",
                metadata={"finalizers": [FINALIZER]},
                spec={"sessionUid": seen.uid, "sessionName": seen.name},
            ),
        )


def node(op: Operator, key: Key) -> Round:
    obj = op.cache.get(key)
    if obj is None or "deletionTimestamp" not in obj["metadata"]:
        return
    status, spec = obj.get("status") or {}, obj["spec"]
    if not status.get("endedAt"):
        ended = {**status, "endedAt": op.server.now.isoformat()}
        yield _write(op, obj, ended)
        return
    where = ("RenderSession", key[1], spec["sessionName"])
    owner = op.cache.get(where)
    if owner is None or owner["metadata"]["uid"] != spec["sessionUid"]:
        owner = yield Request("get", lambda server: server.get(where))
    gone = owner is None or owner["metadata"]["uid"] != spec["sessionUid"]
    counted = {} if gone else (owner.get("status") or {}).get("settling") or ()
    if gone or any(entry["uid"] == obj["metadata"]["uid"] for entry in counted):
        yield Request("finalizer", lambda server: op.took(server.set_finalizers(obj, [])))


ROUNDS.update(RenderAccount=account, RenderPayment=payment, RenderSession=session, RenderNode=node)

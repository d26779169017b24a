"""What must hold at every moment of the model, and what it must come to in the end."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from drqueue.billing.check import check_books
from drqueue.billing.prices import charge, price, read_terms
from drqueue.billing.records import read_account, read_funding, read_payment, read_session

from tests.unit.ledger_rounds import BOOKS
from tests.unit.ledger_world import Object, Operator, Server, moment, reconciled


@dataclass
class Truth:
    """Follows every write, with sums of its own."""

    server: Server
    settled: Counter[str] = field(default_factory=Counter)
    """How often each node's UID was added to a session."""
    lasted: dict[str, int] = field(default_factory=dict)
    """Seconds of each node that ended, by its own status."""
    added: dict[str, int] = field(default_factory=dict)
    """Seconds of each node that were added to a session."""
    there: dict[str, set[str]] = field(default_factory=dict)
    """By session: the nodes that were there when it was last written, and those before them."""
    used_up: list[tuple[frozenset[str], int]] = field(default_factory=list)
    """Nodes that were there when a session's time was used up, and how much that was."""
    left: dict[str, Object] = field(default_factory=dict)
    """Sessions that are gone, as they were at last."""
    wrong: list[str] = field(default_factory=list)
    checked: int = -1
    """The server's version that was last found right."""

    def __post_init__(self) -> None:
        self.server.on_write = self.heard

    def heard(self, old: Object | None, new: Object | None) -> None:
        kind = (new or old or {})["kind"]
        if kind == "RenderSession":
            self._session(old, new)
        elif kind == "RenderNode":
            self._node(old, new)

    def _session(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            self.left[old["metadata"]["uid"]] = old
            return
        assert new is not None
        fresh = _settling(new).keys() - _settling(old).keys()
        self.settled.update(fresh)
        grown = read_session(new).used - (read_session(old).used if old else 0)
        counted = sum(_settling(new)[uid] for uid in fresh)
        self.added |= {uid: _settling(new)[uid] for uid in fresh}
        self._used_up(old, new)
        if grown != counted:
            self.wrong.append(f"{grown} s added for nodes of {counted} s")
        for uid in fresh:
            if _settling(new)[uid] > self.lasted.get(uid, 0):
                self.wrong.append(f"node {uid}: more seconds than it lasted")
        if old is not None and read_session(old).settled and grown:
            self.wrong.append("a settled session was added to")

    def _used_up(self, old: Object | None, new: Object) -> None:
        """What nodes run on after time was used up is never charged, whatever is bought later."""
        uid, status = new["metadata"]["uid"], new.get("status") or {}
        before = read_funding(((old or {}).get("status") or {}).get("funding"))
        there = self.there.setdefault(uid, set())
        if status.get("phase") == "Exhausted" and before and before.state == "Funded":
            self.used_up.append((frozenset(there), before.seconds))
        there |= {
            node["metadata"]["uid"]
            for node in self.server.all("RenderNode")
            if node["spec"]["sessionUid"] == uid
        }

    def _node(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            uid = old["metadata"]["uid"]
            where = ("RenderSession", old["metadata"]["namespace"], old["spec"]["sessionName"])
            owner = self.server.get(where)
            there = owner is not None and owner["metadata"]["uid"] == old["spec"]["sessionUid"]
            if there and self.lasted.get(uid) and not self.settled[uid]:
                self.wrong.append(f"node {uid} is gone, and its time was not added")
            return
        status = (new or {}).get("status") or {}
        ready, ended = moment(status.get("readyAt")), moment(status.get("endedAt"))
        if new is not None and ended is not None:
            lasted = max(int((ended - ready).total_seconds()), 0) if ready else 0
            self.lasted[new["metadata"]["uid"]] = lasted

    # at every moment -----------------------------------------------------------------------

    def check(self) -> None:
        if self.checked == self.server.version:
            return
        self.checked = self.server.version
        found = list(self.wrong)
        invoices = self.server.all("RenderInvoice")
        for obj in self.server.all("RenderAccount"):
            found += check_books(
                obj,
                self.server.all("RenderPayment"),
                invoices,
                self.server.all("RenderSession"),
            )
        found += [f"node {uid} was added {n} times" for uid, n in self.settled.items() if n > 1]
        for nodes, granted in self.used_up:
            charged = sum(self.added.get(uid, 0) for uid in nodes)
            if charged > granted:
                found.append(f"{charged} s of {sorted(nodes)}, whose time was used up at {granted}")
        found += [wrong for obj in self.left.values() for wrong in self._end(obj, invoices)]
        assert not found, "\n".join(found)

    def _end(self, obj: Object, invoices: list[Object]) -> list[str]:
        """A session that is gone has the right invoice, once, if it was funded."""
        seen, funding = read_session(obj), read_funding((obj.get("status") or {}).get("funding"))
        mine = [i for i in invoices if i["spec"]["sessionUid"] == seen.uid]
        if funding is None or funding.state != "Funded":
            return [f"{seen.name} was not funded, and has an invoice"] if mine else []
        if len(mine) != 1:
            return [f"{seen.name} has {len(mine)} invoices"]
        spec = mine[0]["spec"]
        told = Decimal(spec["total"]), spec["usedSeconds"], spec["priced"]["seconds"]
        terms = read_terms(PRICES[seen.uid])
        due = charge(terms, price(terms, funding.seconds).total, funding.seconds, seen.used)
        right = due, seen.used, funding.seconds
        days = {line["day"]: line["seconds"] for line in spec["lines"] if "day" in line}
        wrong = [] if told == right else [f"{seen.name}: invoiced {told}, right is {right}"]
        return wrong if days == seen.days else [*wrong, f"{seen.name}: {days} for {seen.days}"]

    # in the end ----------------------------------------------------------------------------

    def settle_down(self, operators: list[Operator]) -> None:
        """Let all that is to be done be done; then doing it all again must change nothing."""
        first = operators[0]
        for op in operators:
            op.crash()
        for _ in range(60):
            before = self.server.version
            _all_rounds(first, self.check)
            if self.server.version == before:
                break
        else:
            raise AssertionError("the operator does not come to rest")
        for op in operators:
            before = self.server.version
            _all_rounds(op, self.check)
            assert self.server.version == before, "replaying changed something"
        self._at_rest()

    def _at_rest(self) -> None:
        sessions = [read_session(obj) for obj in self.server.all("RenderSession")]
        assert not [s.name for s in sessions if s.deleting], "a session being deleted stays"
        for obj in self.server.all("RenderAccount"):
            account = read_account(obj)
            assert not account.booking, "a booking is not forgotten"
            assert not account.invoicing, "an invoice that is there is not forgotten"
            for entry in account.reservations.values():
                mine = [s for s in sessions if s.uid == entry.session_uid]
                assert mine, f"{entry.session_name} is gone, and its money still held"
                if not mine[0].funded_by(account.name):
                    continue
                granted = mine[0].funding.seconds  # type: ignore[union-attr]
                assert granted == entry.seconds, f"{granted} granted, {entry.seconds} reserved"
            for payment in map(read_payment, self.server.all("RenderPayment")):
                if payment.account == account.name and payment.currency == account.currency:
                    no_coin = payment.amount != round(payment.amount, 2)
                    right = "Refused" if no_coin else "Booked"
                    # it can be called off: a policy refuses to delete what says Booking
                    waits = payment.phase == "Waiting" and account.balance + payment.amount < 0
                    assert payment.phase == right or (waits and payment.is_payout), payment
            if account.waiting:
                assert account.waiting[0].missing > 0, account.waiting


PRICES: dict[str, Any] = {}
"""The price that each session was funded at, by its UID: filled when its reservation appears."""


def note_prices(server: Server) -> None:
    """Remember the terms that a session was first reserved with: they hold to its end."""
    for obj in server.all("RenderAccount"):
        status = obj.get("status") or {}
        terms = {entry["id"]: entry for entry in status.get("terms") or ()}
        for entry in status.get("reservations") or ():
            PRICES.setdefault(entry["sessionUid"], terms[entry["terms"]])


def _settling(obj: Object | None) -> dict[str, int]:
    entries = ((obj or {}).get("status") or {}).get("settling") or ()
    return {entry["uid"]: entry["seconds"] for entry in entries}


def _all_rounds(op: Operator, check: Any) -> None:
    for key in list(reconciled(op.server)):
        op.restart()
        op.finish(key)
        note_prices(op.server)
        check()


__all__ = ["BOOKS", "PRICES", "Truth", "note_prices"]

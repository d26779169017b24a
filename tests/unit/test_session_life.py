"""A session's life, with times and sums worked out by hand: what is decided, used, held, charged.

Two nodes × 2 h at 1.20 + 0.30 an hour; nodes with nothing to render are parked for 10 minutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from drqueue.billing import grants, ledger
from drqueue.billing.books import Account, Funding, Payment, Session
from drqueue.billing.invoices import invoice
from drqueue.billing.ledger import Books
from drqueue.billing.prices import read_terms
from drqueue.billing.settlement import NodeTime
from drqueue.control.idle import IdleRules
from drqueue.control.session_plan import NodeView, Seen, SessionPlan, Wanted, plan

TERMS = read_terms(
    {"currency": "EUR", "machinePerHour": "1.20", "servicePerHour": "0.30", "minimum": "1.00"}
)
EMPTY = Account("studio", "a-1", "EUR", frozenset({"tenant"}))
PARK = IdleRules(policy="Park", park_time=timedelta(minutes=10))


def at(clock: str, day: int = 25) -> datetime:
    hour, minute = clock.split(":")
    return datetime(2026, 11, day, int(hour), int(minute), tzinfo=UTC)


@dataclass
class Life:
    """The session, its account and its nodes, moved by hand through the pure parts."""

    session: Session
    account: Account = EMPTY
    nodes: dict[int, NodeView] = field(default_factory=dict)
    days: Mapping[str, int] = field(default_factory=dict)
    settling: tuple[tuple[str, int], ...] = ()
    unpaid: Mapping[str, datetime] = field(default_factory=dict)

    def pay(self, amount: str) -> None:
        uid = f"p-{amount}"
        payment = Payment(uid, uid, "studio", Decimal(amount), "EUR", "Booking", live=True)
        self._account({uid: payment})
        self._account({uid: replace(payment, phase="Booked")})

    def _account(self, payments: Mapping[str, Payment] | None = None) -> ledger.LedgerPlan:
        books = Books(
            self.account, payments or {}, {self.session.uid: self.session}, {"cpu": TERMS}
        )
        planned = ledger.plan(books)
        assert not planned.read_live
        self.account = planned.account
        return planned

    def look(
        self, now: datetime, blocks: int, unrecorded: tuple[NodeTime, ...] = ()
    ) -> SessionPlan:
        """One reconcile: settle, decide, bind to what is reserved, have it lowered."""
        funding = self.session.funding
        granted = funding.seconds if funding else 0
        wanted = Wanted(self.session.nodes if granted else 0, granted, idle=PARK)
        seen = Seen(
            tuple(replace(n, unpaid_since=self.unpaid.get(n.uid)) for n in self.nodes.values()),
            blocks,
            settled_days=self.days,
            settling=self.settling,
            unpaid=self.unpaid,
            unrecorded=unrecorded,
        )
        planned = plan(wanted, seen, now)
        self.days, self.settling = planned.settled_days, planned.settling
        self.unpaid = planned.unpaid
        entry = self.account.reservations.get(self.session.uid)
        bound = grants.grant(self.session, "studio", entry, planned.used_with_unrecorded)
        self.session = replace(self.session, funding=bound, days=self.days)
        self._account()
        for index in planned.delete:
            del self.nodes[index]
        return planned

    def edit(self, hours: str) -> None:
        seconds = int(Decimal(hours) * 3600) * self.session.nodes
        generation = self.session.generation + 1
        self.session = replace(self.session, seconds=seconds, generation=generation)

    def node(self, index: int, **parts: Any) -> None:
        known = self.nodes.get(index) or NodeView(index, f"n-{index}-{len(self.days)}")
        self.nodes[index] = replace(known, **parts)

    @property
    def money(self) -> tuple[str, str]:
        """Balance, and what is reserved."""
        return f"{self.account.balance:.2f}", f"{self.account.reserved:.2f}"


def new_session() -> Session:
    return Session(
        uid="s-1",
        namespace="tenant",
        name="teapots",
        created_at="2026-11-25T22:00:00Z",
        generation=1,
        class_name="cpu",
        nodes=2,
        seconds=14400,
        held=True,
        funding=Funding("Awaiting", "studio", "EUR"),
        live=True,
    )


def test_a_life_by_hand() -> None:
    life = Life(new_session())

    # it waits: 5.00 of 6.00 are there
    life.pay("5.00")
    assert life.money == ("5.00", "0.00")
    assert life.account.waiting[0].missing == Decimal("1.00")
    assert life.look(at("22:00"), blocks=10).create == ()
    assert life.session.funding == Funding("Awaiting", "studio", "EUR")

    # it is covered, and starts
    life.pay("1.00")
    assert life.money == ("0.00", "6.00")
    life.look(at("22:05"), blocks=10)
    assert life.session.funding is not None
    assert (life.session.funding.seconds, life.session.funding.price) == (14400, Decimal("6.00"))
    assert life.look(at("22:05"), blocks=10).create == (0, 1)
    for index in (0, 1):
        life.node(index, made_at=at("22:05"), ready_at=at("22:10"), busy=True)

    # 2 × 60 min
    planned = life.look(at("23:10"), blocks=10)
    assert (planned.used_seconds, planned.remaining_seconds) == (7200, 7200)

    # one block is left: the second node is parked, and billed all the same
    life.node(1, busy=False)
    assert life.look(at("23:10"), blocks=1).idle == (1,)
    life.node(1, idle_since=at("23:10"))

    # another block, 5 minutes later: it goes on rather than a new one is started
    planned = life.look(at("23:15"), blocks=2)
    assert (planned.resume, planned.create, planned.used_seconds) == ((1,), (), 7800)
    life.node(1, idle_since=None, busy=True)

    # nothing to render: both are parked, and go after 10 minutes
    for index in (0, 1):
        life.node(index, busy=False)
    planned = life.look(at("23:40"), blocks=0)
    assert (planned.idle, planned.drain, planned.used_seconds) == ((0, 1), (), 10800)
    for index in (0, 1):
        life.node(index, idle_since=at("23:40"))
    assert life.look(at("23:49"), blocks=0).drain == ()
    planned = life.look(at("23:50"), blocks=0)
    assert (planned.drain, planned.used_seconds) == ((0, 1), 12000)

    # each lasted 22:10 to 23:51, 6,060 s
    for index in (0, 1):
        life.node(index, drain=True, ended_at=at("23:51"))
    planned = life.look(at("23:52"), blocks=0)
    assert life.days == {"2026-11-25": 12120}
    assert planned.remaining_seconds == 2280
    life.look(at("23:53"), blocks=0)  # they are deleted, and forgotten
    life.look(at("23:54"), blocks=0)
    assert (life.nodes, life.settling) == ({}, ())

    # the next day: 2,280 s for two nodes are 19 min
    assert life.look(at("00:00", 26), blocks=8).create == (0, 1)
    for index in (0, 1):
        life.node(index, made_at=at("00:00", 26), ready_at=at("00:05", 26), busy=True)
    planned = life.look(at("00:05", 26), blocks=8)
    assert planned.look_again == timedelta(minutes=19)
    assert not life.look(at("00:23", 26), blocks=8).exhausted

    # exhausted: they drain, and what they need for that is on the house
    planned = life.look(at("00:24", 26), blocks=8)
    assert (planned.exhausted, planned.drain, planned.used_seconds) == (True, (0, 1), 14400)
    for index in (0, 1):
        life.node(index, drain=True, busy=False, ended_at=at("00:26", 26))
    life.look(at("00:27", 26), blocks=8)
    assert life.days == {"2026-11-25": 12120, "2026-11-26": 2280}
    assert life.look(at("00:28", 26), blocks=8).create == ()
    life.look(at("00:28", 26), blocks=8)

    # a third hour for each node: 9.00, so 3.00 more
    life.edit("3")
    life.look(at("00:30", 26), blocks=8)
    assert life.account.waiting[0].missing == Decimal("3.00")
    assert life.session.funding.seconds == 14400
    life.pay("4.00")
    assert life.money == ("1.00", "9.00")
    life.look(at("00:30", 26), blocks=8)
    planned = life.look(at("00:30", 26), blocks=1)
    assert (planned.remaining_seconds, planned.create) == (7200, (0,))
    life.node(0, made_at=at("00:30", 26), ready_at=at("00:40", 26), busy=True)
    life.node(0, busy=False, ended_at=at("01:10", 26))
    planned = life.look(at("01:12", 26), blocks=0)
    assert planned.used_seconds == 16200

    # half an hour a node less: 5 h for 7.50, and 4 h 30 min of them are used
    life.edit("2.5")
    life.look(at("01:15", 26), blocks=0)
    assert life.session.funding is not None
    assert (life.session.funding.seconds, life.session.funding.price) == (18000, Decimal("7.50"))
    assert life.money == ("2.50", "7.50")

    # the end: 7.50 × 16,200 / 18,000
    life.session = replace(life.session, deleting=True, settled=True)
    planned_end = life._account()
    (entry,) = planned_end.account.invoicing
    assert life.money == ("3.25", "0.00")
    spec = invoice(life.account, "books", entry, life.session)["spec"]
    assert spec["priced"] == {"nodes": 2, "seconds": 18000, "amount": "7.50"}
    assert [(line["day"], line["seconds"], line["amount"]) for line in spec["lines"]] == [
        ("2026-11-25", 12120, "5.05"),
        ("2026-11-26", 4080, "1.70"),
    ]
    assert (spec["usedSeconds"], spec["total"]) == (16200, "6.75")


def test_a_top_up_while_nodes_drain_pays_for_new_ones_only() -> None:
    """1 h for 1.50. All is used at 23:00; the block of then runs on for half an hour."""
    life = Life(replace(new_session(), nodes=1, seconds=3600))
    life.pay("4.00")
    life.look(at("22:00"), blocks=5)
    life.look(at("22:00"), blocks=5)
    life.node(0, uid="old", made_at=at("22:00"), ready_at=at("22:00"), busy=True)
    planned = life.look(at("23:00"), blocks=5)
    assert (planned.exhausted, planned.drain, planned.unpaid) == (True, (0,), {"old": at("23:00")})
    life.node(0, drain=True)

    # a second hour is bought at 23:20; there is room for a node once the old one has ended
    life.edit("2")
    life.look(at("23:20"), blocks=5)
    planned = life.look(at("23:20"), blocks=5)
    assert life.money == ("1.00", "3.00")
    planned = life.look(at("23:20"), blocks=5)
    assert (planned.remaining_seconds, planned.create, planned.look_again) == (3600, (), None)
    life.node(0, busy=False, ended_at=at("23:30"))
    planned = life.look(at("23:31"), blocks=5)
    assert (planned.settling, planned.remaining_seconds, planned.unpaid) == (
        (("old", 3600),),
        3600,
        {},
    )
    assert life.look(at("23:31"), blocks=5).create == (1,)
    life.node(1, uid="new", made_at=at("23:31"), ready_at=at("23:35"), busy=True)
    planned = life.look(at("00:20", 26), blocks=5)
    assert (planned.used_seconds, planned.exhausted) == (3600 + 2700, False)
    life.node(1, busy=False, drain=True, ended_at=at("00:20", 26))
    planned = life.look(at("00:21", 26), blocks=0)
    assert sum(planned.settled_days.values()) == 6300

    # a raise that comes before they were told to drain: they drain all the same
    life = Life(replace(new_session(), funding=Funding("Funded", "studio", "EUR", seconds=14400)))
    for index in (0, 1):
        life.node(index, uid=f"n-{index}", ready_at=at("22:00"), busy=True, patient=index == 1)
    life.node(1, drain=True)
    life.look(at("00:00", 26), blocks=2)
    life.session = replace(
        life.session, funding=Funding("Funded", "studio", "EUR", nodes=2, seconds=20000)
    )
    planned = life.look(at("00:01", 26), blocks=2)
    assert (planned.drain, planned.hurry, planned.create) == ((0,), (1,), ())
    assert planned.remaining_seconds == 5600


def test_parked_time_on_the_house() -> None:
    """As above, 22:10 to 23:51; parked 23:10 to 23:15, and from 23:40 on."""
    life = Life(replace(new_session(), funding=Funding("Funded", "studio", "EUR", seconds=14400)))
    parked = (at("23:40"), None)
    life.node(0, ready_at=at("22:10"), ended_at=at("23:51"), free=(parked,))
    again = (at("23:10"), at("23:15"))
    life.node(1, ready_at=at("22:10"), ended_at=at("23:51"), free=(again, parked))
    planned = life.look(at("23:52"), blocks=0)
    assert planned.settling == (("n-0-0", 5400), ("n-1-0", 5100))
    assert planned.settled_days == {"2026-11-25": 10500}
    assert planned.remaining_seconds == 3900


def test_a_node_over_midnight_is_billed_on_both_days() -> None:
    life = Life(replace(new_session(), funding=Funding("Funded", "studio", "EUR", seconds=14400)))
    life.node(0, ready_at=at("23:30"), ended_at=at("01:00", 26))
    assert life.look(at("01:01", 26), blocks=0).settled_days == {
        "2026-11-25": 1800,
        "2026-11-26": 3600,
    }


def test_a_node_parked_on_the_house_uses_no_time() -> None:
    life = Life(replace(new_session(), funding=Funding("Funded", "studio", "EUR", seconds=14400)))
    parked = (at("22:40"), None)
    life.node(0, ready_at=at("22:10"), idle_since=at("22:40"), free=(parked,))
    life.node(1, ready_at=at("22:10"), busy=True)
    planned = life.look(at("22:45"), blocks=1)
    assert planned.used_seconds == 1800 + 2100
    # one node's pace: 10,500 s are left, but the parked one goes before that
    assert planned.look_again == timedelta(minutes=5)


def test_what_nodes_used_before_their_readiness_was_written_down_stays_paid() -> None:
    """The operator is away from 22:00 to 23:30; two nodes are Ready on their pods at 22:01."""
    life = Life(new_session())
    life.pay("6.00")
    life.look(at("22:00"), blocks=5)
    for index in (0, 1):
        life.node(index, uid=f"n-{index}", made_at=at("22:00"), busy=True)
    life.edit("0.02")
    seen = tuple(NodeTime(f"n-{i}", at("22:01"), made_at=at("22:00")) for i in (0, 1))
    planned = life.look(at("23:30"), blocks=5, unrecorded=seen)
    assert (planned.used_seconds, planned.used_with_unrecorded) == (0, 2 * 89 * 60)
    assert life.session.funding is not None
    assert life.session.funding.seconds == 2 * 89 * 60
    for index in (0, 1):
        life.node(index, ready_at=at("22:01"))
    planned = life.look(at("23:31"), blocks=5)
    assert (planned.exhausted, planned.used_seconds) == (True, 2 * 89 * 60)
    assert planned.unpaid == {"n-0": at("23:30"), "n-1": at("23:30")}

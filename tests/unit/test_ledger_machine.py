"""Any order of payments, sessions, edits, nodes, old reads, crashes and clocks keeps the books."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.ledger_rounds import BOOKS
from tests.unit.ledger_truth import PRICES, Truth, note_prices
from tests.unit.ledger_world import (
    KINDS,
    Key,
    Operator,
    Server,
    later,
    reconciled,
)

RATES: list[dict[str, Any]] = [
    {"machinePerHour": "1"},
    {"machinePerHour": "2.50", "servicePerHour": "0.333", "minimum": "0.70"},
    {"machinePerHour": "3", "discounts": [{"fromHours": 4, "percent": "50"}], "rounding": "Up"},
    {"machinePerHour": "1.10", "unused": "Keep"},
]
TENANTS = ("tenant-a", "tenant-b")
OPERATORS = st.integers(0, 1)
ACTS = ("edit", "edit", "end", "render", "pay", "order", "pay out", "call off")
HEARD = ("RenderAccount", "RenderPayment", "RenderSession", "RenderNode")
_PICKS = st.integers(0, 999)


class Ledger(RuleBasedStateMachine):
    """Two operators over one API server: the second is one that was paused, and does not know."""

    def __init__(self) -> None:
        super().__init__()
        PRICES.clear()
        self.server = Server()
        self.truth = Truth(self.server)
        self.operators = [Operator(self.server), Operator(self.server)]
        self.names = 0

    @initialize(
        money=st.sampled_from([None, "9", "40"]), work=st.integers(0, 14), paused=st.integers(0, 14)
    )
    def begin(self, money: str | None, work: int, paused: int) -> None:
        """Some of the way into a life, so that the steps that follow are of all ages."""
        for name, tenants in (("studio", ["tenant-a", "tenant-b"]), ("other", [])):
            spec = {"currency": "EUR", "namespaces": tenants}
            self.server.create("RenderAccount", BOOKS, name, spec=spec)
        self.server.create("RenderNodeClass", "", "cpu", spec={"price": _price(0)})
        if money is not None:
            self.pay(money, "studio")
            self.order(2, 2, "tenant-a")
            self.order(1, 3, "tenant-b")
        for op in self.operators:
            op.hear_all()
        for turn in range(work):
            self.work(0, 4, turn * 4, None)
            self.nodes_get_ready()
            if turn == paused:
                self.pause()

    # what people do --------------------------------------------------------------------------

    @rule(
        amount=st.sampled_from(["3", "8", "20", "-5", "-2.50", "0.001"]),
        account=st.sampled_from(["studio", "studio", "studio", "other"]),
    )
    def pay(self, amount: str, account: str) -> None:
        self.names += 1
        spec = {"accountName": account, "amount": amount, "currency": "EUR"}
        self.server.create("RenderPayment", BOOKS, f"p-{self.names}", spec=spec)

    @rule(amounts=st.lists(st.sampled_from(["-3", "-5", "-12"]), min_size=2, max_size=3))
    def pay_out(self, amounts: list[str]) -> None:
        """Several payouts at once, which may be covered one by one and not together."""
        for amount in amounts:
            self.pay(amount, "studio")

    @rule(what=st.sampled_from(["payment", "tenant", "move", "price", "suspend"]), pick=_PICKS)
    def rarely(self, what: str, pick: int) -> None:
        if what == "payment":
            self.delete_a_payment(pick)
        elif what == "tenant" and pick % 3 == 0:
            self.end_a_tenant(TENANTS[pick % 2])
        elif what == "move":
            self.move_a_tenant(("studio", "other")[pick % 2])
        elif what == "price":
            self.change_price(pick % (len(RATES) + 1) - 1)
        elif what == "suspend":
            self.suspend(pick, pick % 3 == 0)

    def delete_a_payment(self, pick: int) -> None:
        """Where a policy does not refuse it."""
        for obj in _picked(self.server.all("RenderPayment"), pick):
            if (obj.get("status") or {}).get("phase") not in ("Booking", "Booked"):
                self.server.delete(("RenderPayment", BOOKS, obj["metadata"]["name"]))

    @rule(nodes=st.integers(1, 3), hours=st.integers(1, 4), tenant=st.sampled_from(TENANTS))
    def order(self, nodes: int, hours: int, tenant: str) -> None:
        if len(self.server.all("RenderSession")) >= 3:
            return
        self.names += 1
        spec = {"nodeClassName": "cpu", "nodes": nodes, "renderTime": f"{hours}h"}
        self.server.create("RenderSession", tenant, f"s-{self.names}", spec=spec)

    @rule(pick=_PICKS, nodes=st.integers(1, 3), hours=st.integers(1, 4))
    def edit(self, pick: int, nodes: int, hours: int) -> None:
        for obj in _picked(self.server.all("RenderSession"), pick):
            self.server.edit(_key(obj), nodes=nodes, renderTime=f"{hours}h")

    def suspend(self, pick: int, suspend: bool) -> None:
        for obj in _picked(self.server.all("RenderSession"), pick):
            self.server.edit(_key(obj), suspend=suspend)

    @rule(pick=_PICKS)
    def end(self, pick: int) -> None:
        if pick % 2:
            return
        for obj in _picked(self.server.all("RenderSession"), pick):
            self.server.delete(_key(obj))

    def end_a_tenant(self, tenant: str) -> None:
        for obj in [*self.server.all("RenderSession"), *self.server.all("RenderNode")]:
            if obj["metadata"]["namespace"] == tenant:
                self.server.delete(_key(obj))

    def change_price(self, rate: int) -> None:
        self.server.edit(("RenderNodeClass", "", "cpu"), price=_price(rate) if rate >= 0 else None)

    def move_a_tenant(self, of: str) -> None:
        rest = "other" if of == "studio" else "studio"
        self.server.edit(("RenderAccount", BOOKS, of), namespaces=["tenant-a", "tenant-b"])
        self.server.edit(("RenderAccount", BOOKS, rest), namespaces=[])

    # what nodes and clocks do ------------------------------------------------------------------

    def nodes_get_ready(self) -> None:
        for obj in self.server.all("RenderNode"):
            if not obj.get("status"):
                status = {"readyAt": self.server.now.isoformat()}
                self.server.write_status(obj, status)

    def node_ends(self, pick: int) -> None:
        for obj in _picked(self.server.all("RenderNode"), pick):
            status = obj.get("status") or {}
            if not status.get("endedAt"):
                ended = {**status, "endedAt": self.server.now.isoformat()}
                self.server.write_status(obj, ended)

    @rule(pick=_PICKS, seconds=st.sampled_from([61, 1800, 5000]), ends=st.booleans())
    def a_node_renders(self, pick: int, seconds: int, ends: bool) -> None:
        self.nodes_get_ready()
        later(self.server, seconds)
        if ends:
            self.node_ends(pick)

    @rule(seconds=st.sampled_from([1, 59, 1800, 3600, 10_000, -1, -300, -4000]))
    def clock(self, seconds: int) -> None:
        later(self.server, seconds)

    # what operators do -------------------------------------------------------------------------

    @rule(who=OPERATORS, kind=st.sampled_from(KINDS), count=st.integers(1, 4))
    def hear(self, who: int, kind: str, count: int) -> None:
        self.operators[who].hear(kind, count)

    @rule(who=OPERATORS, kind=st.sampled_from(KINDS), back=st.integers(1, 12))
    def an_old_list_comes_late(self, who: int, kind: str, back: int) -> None:
        self.operators[who].relist_late(kind, back)

    @rule(who=OPERATORS, pick=_PICKS)
    def start(self, who: int, pick: int) -> None:
        for key in _picked(sorted(_known(self.operators[who])), pick):
            self.operators[who].start(key)

    @precondition(lambda self: any(op.rounds for op in self.operators))
    @rule(pick=_PICKS, steps=st.integers(1, 4))
    def step(self, pick: int, steps: int) -> None:
        flying = [(op, key) for op in self.operators for key in sorted(op.rounds)]
        for op, key in _picked(flying, pick):
            for _ in range(steps):
                if key in op.rounds:
                    op.step(key)
                    self.seen()

    @rule(
        who=OPERATORS,
        rounds=st.one_of(st.integers(1, 12), st.just(40), st.just(80)),
        first=_PICKS,
        deaf_to=st.sampled_from([None, None, *HEARD]),
        slowly=st.booleans(),
    )
    def work(
        self, who: int, rounds: int, first: int, deaf_to: str | None, slowly: bool = False
    ) -> None:
        """Round after round, hearing nothing of one kind, or one event a round, until somewhere
        in between."""
        op = self.operators[who]
        for turn in range(rounds):
            for kind in KINDS:
                if kind != deaf_to:
                    op.hear(kind)
                elif slowly:
                    op.hear(kind, 1)
            for key in _picked(sorted(_known(op)), first + turn):
                op.finish(key)
                self.seen()

    @rule()
    def pause(self) -> None:
        """The second operator is the first as it was at this moment, and wakes up later."""
        first, second = self.operators
        second.crash()
        second.cache, second.heard = dict(first.cache), dict(first.heard)

    @rule(
        acts=st.lists(
            st.tuples(st.sampled_from(ACTS), _PICKS, st.sampled_from([0, 12, 60, 160])),
            min_size=1,
            max_size=3,
        ),
        asking=st.booleans(),
        first=_PICKS,
        deaf_to=st.sampled_from(HEARD),
        slowly=st.booleans(),
    )
    def pause_and_wake(
        self,
        acts: list[tuple[str, int, int]],
        asking: bool,
        first: int,
        deaf_to: str,
        slowly: bool,
    ) -> None:
        """A leader is paused; much happens under another; it wakes up with some old news."""
        if asking:
            self.order(1, 2, TENANTS[first % 2])
            self.operators[0].hear_all()
            for key in sorted(_known(self.operators[0])):
                if key[0] == "RenderSession":
                    self.operators[0].finish(key)
        self.pause()
        for act, pick, rounds in acts:
            self.act(act, pick)
            self.work(0, rounds, first, None)
        self.work(1, 24, first, deaf_to, slowly)

    @rule(
        pick=_PICKS,
        ends=st.lists(st.booleans(), min_size=3, max_size=3),
        work=st.tuples(st.sampled_from([0, 4, 24]), st.sampled_from([0, 4, 24])),
        crashes=st.booleans(),
    )
    def used_up_and_topped_up(
        self, pick: int, ends: list[bool], work: tuple[int, int], crashes: bool
    ) -> None:
        """More is bought while nodes finish their blocks; they end before, between and after."""
        self.work(0, 12, pick, None)
        self.nodes_get_ready()
        self.operators[0].hear_all()
        later(self.server, 20_000)
        self.node_ends(pick) if ends[0] else None
        self.work(0, 12, pick, None)
        if crashes:
            self.operators[0].restart()
        self.edit(pick, 3, 4)
        self.pay("40", "studio")
        for rounds, end in zip(work, ends[1:], strict=True):
            self.work(0, rounds, pick, None)
            later(self.server, 100)
            self.node_ends(pick) if end else None
        self.work(0, 12, pick, None)

    def act(self, act: str, pick: int) -> None:
        if act == "edit":
            self.edit(pick, 1 + pick % 3, 1 + pick % 4)
        elif act == "end":
            self.end(pick * 2)
        elif act == "render":
            self.a_node_renders(pick, 1800, ends=True)
        elif act == "pay":
            self.pay("20", "studio")
        elif act == "pay out":
            self.pay_out(["-5", "-12"])
            self.operators[1].hear("RenderPayment")  # the one that is paused knows them
        elif act == "call off":
            self.delete_a_payment(pick)
        else:
            self.order(1, 2, TENANTS[pick % 2])

    @rule(who=OPERATORS, listed=st.booleans())
    def crash(self, who: int, listed: bool) -> None:
        if listed:
            self.operators[who].restart()
        else:
            self.operators[who].crash()

    # what holds --------------------------------------------------------------------------------

    @invariant()
    def seen(self) -> None:
        note_prices(self.server)
        self.truth.check()

    def teardown(self) -> None:
        if self.server.all("RenderAccount"):
            self.truth.settle_down(self.operators)


def _price(rate: int) -> dict[str, Any]:
    return {"currency": "EUR", **RATES[rate]}


def _picked(items: list[Any], pick: int) -> list[Any]:
    return [items[pick % len(items)]] if items else []


def _key(obj: Any) -> Key:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


def _known(op: Operator) -> set[Key]:
    known = set(reconciled(op.server))
    return known | {key for key in op.cache if key[0] in {k[0] for k in known}}


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)

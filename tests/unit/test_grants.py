"""What a session may use, case by case; the protocol as a whole is in test_ledger_machine."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from drqueue.billing.books import Funding, Reservation, Session
from drqueue.billing.grants import grant
from drqueue.billing.prices import read_terms

HOUR = 3600
TERMS = read_terms({"currency": "EUR", "machinePerHour": "1"})
KEEP = replace(TERMS, unused="Keep")


def session(hours: int, generation: int, funding: Funding | None, **parts: Any) -> Session:
    """One node for so long."""
    return Session(
        "uid",
        "tenant",
        "s",
        "",
        generation,
        "cpu",
        **{"nodes": 1, "seconds": hours * HOUR, "funding": funding, **parts},
    )


def reservation(hours: int, generation: int, **parts: Any) -> Reservation:
    made = Reservation(
        "uid", "tenant", "s", "cpu", generation, 1, hours * HOUR, Decimal(hours), TERMS
    )
    return replace(made, **parts)


def funded(hours: int, generation: int = 0) -> Funding:
    return Funding("Funded", "studio", "EUR", Decimal(hours), 1, hours * HOUR, generation)


AWAITING = Funding("Awaiting", "studio", "EUR")


@pytest.mark.parametrize(
    ("seen", "reserved", "used", "hours", "generation"),
    [
        # the first: all of it; or what is wished by now, and bound to no more
        (session(4, 1, AWAITING), reservation(4, 1), 0, 4, 0),
        (session(2, 2, AWAITING), reservation(4, 1), 0, 2, 2),
        # a raise: as far as it is reserved
        (session(8, 2, funded(4)), reservation(4, 1), 0, 4, 0),
        (session(8, 2, funded(4)), reservation(8, 2), 0, 8, 0),
        (session(8, 3, funded(4)), reservation(6, 2), 0, 6, 0),
        # less: bound, not below what is used, and once for each generation
        (session(2, 2, funded(4)), reservation(4, 1), 0, 2, 2),
        (session(2, 2, funded(4)), reservation(4, 1), 3 * HOUR, 3, 2),
        (session(2, 2, funded(3, 2)), reservation(4, 1), 0, 3, 2),
        (session(2, 2, funded(4)), reservation(4, 1), 9 * HOUR, 4, 2),
        # a reservation from before it was bound raises nothing, one dated anew does
        (session(6, 3, funded(2, 2)), reservation(8, 1), 0, 2, 3),
        (session(6, 3, funded(2, 2)), reservation(6, 3), 0, 6, 2),
        # more is reserved than is wished by now, and it saw that: bound
        (session(5, 3, funded(4)), reservation(8, 2), 0, 5, 3),
        # where the unused is kept, nothing is given back once a second was used
        (session(2, 2, funded(4)), reservation(4, 1, terms=KEEP), 0, 2, 2),
        (session(2, 2, funded(4)), reservation(4, 1, terms=KEEP), 1, 4, 2),
    ],
)
def test_a_table_of_grants(
    seen: Session, reserved: Reservation, used: int, hours: int, generation: int
) -> None:
    found = grant(seen, "studio", reserved, used)
    assert found is not None
    assert (found.state, found.account) == ("Funded", "studio")
    assert (found.seconds, found.generation) == (hours * HOUR, generation)
    assert found.price == hours
    again = replace(seen, funding=found)
    assert grant(again, "studio", reserved, used) == found, "replaying changes nothing"


@pytest.mark.parametrize("state", [None, AWAITING, Funding("Free"), funded(4)])
def test_nothing_changes_without_a_reservation_or_at_the_end(state: Funding | None) -> None:
    assert grant(session(2, 2, state), "studio", None, 0) == state
    ending = session(8, 2, state, deleting=True)
    assert grant(ending, "studio", reservation(8, 2), 0) == state


def test_a_free_session_stays_free() -> None:
    free = session(4, 1, Funding("Free"))
    assert grant(free, "studio", reservation(4, 1), 0) == Funding("Free")


def test_more_nodes_wait_for_their_money_and_fewer_do_not() -> None:
    more = session(8, 2, funded(4), nodes=2)
    found = grant(more, "studio", reservation(4, 1), 0)
    assert found is not None
    assert (found.nodes, found.seconds) == (1, 4 * HOUR)
    covered = grant(more, "studio", reservation(8, 2, nodes=2), 0)
    assert covered is not None
    assert (covered.nodes, covered.seconds) == (2, 8 * HOUR)
    same_time = grant(session(4, 2, funded(4), nodes=2), "studio", reservation(4, 1), 0)
    assert same_time is not None
    assert same_time.nodes == 2

"""What a session may use: its own ceiling, raised and lowered in step with its reservation. Pure.

The session writes its grant into its status.funding, under its own resourceVersion, and reads its
reservation from a cache. Two rules make that safe, whatever the cache shows:

- it never grants itself more than a reservation that it saw;
- before a reservation is lowered, the session has *bound* itself: it wrote into
  `funding.generation` the generation from which on it refuses to be raised by any older
  reservation. The account lowers only what is older than that, and no further than the grant.
"""

from dataclasses import dataclass, replace

from drqueue.billing.books import Funding, Reservation, Session
from drqueue.billing.prices import price


@dataclass(frozen=True)
class Wish:
    """What the spec says: nodes, and node-seconds (nodes × renderTime)."""

    nodes: int
    seconds: int


def grant(
    session: Session, account: str, reservation: Reservation | None, used: int
) -> Funding | None:
    """The funding that the session should have now; None while it has none yet.

    `session` is what the write will be made on (the same resourceVersion); `reservation` the
    account's entry for its UID, from a cache; `used` the node-seconds of ended and running nodes,
    never less than what is settled. For sessions that are Free or being deleted nothing changes.
    A funding for the first time (old state Awaiting or none) comes from a reservation only.
    """
    old = session.funding
    if session.deleting or (old is not None and old.state == "Free"):
        return old
    if old is not None and old.state == "Funded":
        return old if reservation is None else _follow(session, old, reservation, used)
    if reservation is None:
        return old
    asking = Funding(
        "Funded",
        account,
        reservation.terms.currency,
        generation=old.generation if old is not None else 0,
        parked_time=reservation.terms.parked_time,
    )
    return _follow(session, asking, reservation, used)


def _follow(session: Session, old: Funding, reservation: Reservation, used: int) -> Funding:
    wish = Wish(session.nodes, session.seconds)
    raisable = reservation.generation >= old.generation
    ceiling = max(old.seconds, reservation.seconds) if raisable else old.seconds
    seconds = min(wish.seconds, ceiling)
    if seconds < old.seconds:
        seconds = _lowered(session, old, reservation, used)
    bound = old.generation
    older = reservation.generation < session.generation
    if seconds < old.seconds or (older and wish.seconds < reservation.seconds):
        bound = session.generation
    nodes = wish.nodes
    if seconds < wish.seconds:  # what was funded goes on meanwhile
        follows = raisable and seconds == reservation.seconds
        nodes = min(nodes, reservation.nodes if follows else old.nodes)
    return replace(
        old,
        price=price(reservation.terms, seconds).total,
        nodes=nodes,
        seconds=seconds,
        generation=bound,
        missing=None,
    )


def _lowered(session: Session, old: Funding, reservation: Reservation, used: int) -> int:
    """How far a grant goes down: not below what is used, and once for each generation.

    Where the class keeps what is unused, a session that rendered keeps it too: it could be had
    back by lowering just before the end otherwise.
    """
    used = max(used, session.used)
    kept = reservation.terms.unused == "Keep" and used > 0
    if kept or old.generation >= session.generation:
        return old.seconds
    return min(max(session.seconds, used), old.seconds)

"""What a session costs and who pays, as its status says. Pure."""

from datetime import timedelta

from drqueue.api.values import format_duration, parse_duration, parse_total
from drqueue.billing.money import read_money, write_money
from drqueue.billing.prices import Terms, for_time
from drqueue.cli.kinds import Object
from drqueue.cli.output import dig


def paid_for(item: Object) -> bool:
    """Whether money is a matter for this session: it names an account, or one was found."""
    state = dig(item, "status", "funding", "state")
    return state != "Free" and bool(state or dig(item, "spec", "accountName"))


def account_of(item: Object) -> str:
    """The account that it spends from, or would."""
    found = dig(item, "status", "funding", "accountName") or dig(item, "spec", "accountName")
    return str(found or "")


def price_of(item: Object) -> str:
    """Its price, for a column: `48.00 EUR`, and what is missing."""
    funding = dig(item, "status", "funding") or {}
    currency, missing = funding.get("currency", ""), funding.get("missing")
    parts = []
    if funding.get("state") == "Funded" and funding.get("price"):
        parts.append(f"{funding['price']} {currency}")
    if missing:
        parts.append(f"{missing} {currency} missing")
    return ", ".join(parts)


def funding_fields(item: Object) -> list[tuple[str, object]]:
    """Price, account and what is missing, as names and values; empty ones say nothing."""
    funding = dig(item, "status", "funding") or {}
    state, currency = funding.get("state"), funding.get("currency", "")
    if state == "Free":
        return [("Price", "free: nothing is charged for this session")]
    missing = funding.get("missing")
    return [
        ("Account", account_of(item)),
        ("Price", _price(item, funding) if state == "Funded" else _awaiting(state)),
        ("Waits for", _why_not_funded(item)),
        ("Missing", f"{missing} {currency}" if missing else None),
    ]


def _price(item: Object, funding: Object) -> str:
    seconds = int(funding.get("seconds") or 0)
    covered = format_duration(timedelta(seconds=seconds))
    text = f"{funding.get('price')} {funding.get('currency', '')}, reserved for {covered}"
    asked = item["spec"]["nodes"] * parse_duration(item["spec"]["renderTime"]).total_seconds()
    if seconds < asked:
        text += f" of the {format_duration(timedelta(seconds=asked))} asked for"
    used = dig(item, "status", "renderTime", "used")
    return f"{text}; {_worth(funding, seconds, used)} of it used" if used else text


def _worth(funding: Object, seconds: int, used: str) -> str:
    """What the used share of the price is. The account has the terms: rounding may differ."""
    price, currency = read_money(funding["price"]), funding["currency"]
    terms = Terms(currency, machine_per_hour=price)
    worth = for_time(terms, price, seconds, int(parse_total(used).total_seconds()))
    return f"about {write_money(worth, currency)} {currency}"


def _awaiting(state: object) -> str | None:
    return "nothing is reserved yet" if state else None


def _why_not_funded(item: Object) -> str:
    conditions = dig(item, "status", "conditions") or []
    waits = (c for c in conditions if c.get("type") == "Funded" and c.get("status") == "False")
    return next((str(c.get("message") or "") for c in waits), "")

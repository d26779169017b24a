"""What is refused of prices, limits, idle policies and the books, and what is taken."""

from typing import Any

from drqueue.api.money import (
    CURRENCY_FORM,
    MONEY_FORM,
    PERCENT_FORM,
    SIGNED_FORM,
    SUM_FORM,
    ZERO_AMOUNT,
)
from drqueue.api.text import DAY_FORM, LINE_FORM
from drqueue.api.values import DURATION_FORM, ZERO_DURATION

from tests.manifests import GONE

Row = tuple[str, dict[str, Any], str, str]
"""Kind, changes to a manifest that holds, the field at fault, words of the API server's remedy."""

BAD_DURATIONS = (
    ("0s", ZERO_DURATION),
    ("0h0m", ZERO_DURATION),
    ("-4h", DURATION_FORM),
    ("4 hours", DURATION_FORM),
    ("", DURATION_FORM),
    ("1.5h", DURATION_FORM),
    ("30m1h", DURATION_FORM),
)
BAD_NAMES = ("Teapots", "tea_pots", "-teapots", "teapots-", "")
AT_LEAST_1 = "greater than or equal to 1"
_TOO_MANY_DIGITS = "1234567890123"
_MONEY = ("", "-1", "+1", "1.", ".5", "1e3", "1,5", "1.1234567", " 1", "1\n", "EUR 1", "NaN")
_CURRENCIES = ("", "E", "eur", "Eur", "EU", "€", "EU1", "EU\n")
_LINES = ("", "   ", "a\nb", "a\x00b", "a\x1b[31mb", "\x7f")


def _prices() -> list[tuple[dict[str, Any], str, str]]:
    price = {"currency": "EUR", "machinePerHour": "0.80"}
    sums = ("machinePerHour", "servicePerHour", "minimum")
    percents = ("-1", "101", "100.1", "1e1", "", "7,5", "ten", "99.1234567")

    def discounts(*entries: dict[str, Any]) -> dict[str, Any]:
        return {"spec.price": {**price, "discounts": list(entries)}}

    ten = {"fromHours": 10, "percent": "5"}
    where = "spec.price.discounts"
    return [
        *(
            ({"spec.price": {**price, name: text}}, f"spec.price.{name}", MONEY_FORM)
            for name in sums
            for text in (*_MONEY, _TOO_MANY_DIGITS)
        ),
        *(({"spec.price": {**price, n: 0.8}}, f"spec.price.{n}", "string") for n in sums),
        *(
            ({"spec.price": {**price, "currency": code}}, "spec.price.currency", CURRENCY_FORM)
            for code in _CURRENCIES
        ),
        ({"spec.price": {"currency": "EUR"}}, "spec.price.machinePerHour", "Required value"),
        ({"spec.price": {"machinePerHour": "1"}}, "spec.price.currency", "Required value"),
        *(
            (discounts({**ten, "percent": p}), f"{where}[0].percent", PERCENT_FORM)
            for p in percents
        ),
        (discounts({**ten, "fromHours": 0}), f"{where}[0].fromHours", AT_LEAST_1),
        (discounts({**ten, "fromHours": "10"}), f"{where}[0].fromHours", "integer"),
        (discounts(ten, {**ten, "percent": "9"}), f"{where}[1]", "Duplicate value"),
        (discounts(*({**ten, "fromHours": n} for n in range(1, 18))), where, "at most 16 items"),
        ({"spec.price": {**price, "rounding": "half-up"}}, "spec.price.rounding", "HalfUp"),
        ({"spec.price": {**price, "unused": "Burn"}}, "spec.price.unused", "Refund"),
        ({"spec.price": {**price, "parkedTime": "No"}}, "spec.price.parkedTime", "Billed"),
    ]


def _limits() -> list[tuple[dict[str, Any], str, str]]:
    one = {"namespace": "studio-a", "weight": 3}
    where = "spec.limits.weights"
    return [
        *(
            ({f"spec.limits.{name}": n}, f"spec.limits.{name}", AT_LEAST_1)
            for name in ("nodes", "nodesPerTenant", "nodesPerSession")
            for n in (0, -1)
        ),
        ({"spec.limits.nodes": 1_000_001}, "spec.limits.nodes", "less than or equal to 1000000"),
        ({where: [{**one, "weight": 0}]}, f"{where}[0].weight", AT_LEAST_1),
        ({where: [{**one, "weight": 1001}]}, f"{where}[0].weight", "less than or equal to 1000"),
        ({where: [{**one, "weight": "3"}]}, f"{where}[0].weight", "integer"),
        ({where: [{**one, "namespace": "Studio"}]}, f"{where}[0].namespace", "lower-case"),
        ({where: [one, {**one, "weight": 1}]}, f"{where}[1]", "Duplicate value"),
        (
            {where: [{"namespace": f"tenant-{n}", "weight": 1} for n in range(501)]},
            where,
            "at most 500 items",
        ),
    ]


def _idle() -> list[tuple[dict[str, Any], str, str]]:
    longer = "shutdownBefore is billingPeriod or more"
    return [
        ({"spec.idle.policy": "Sleep"}, "spec.idle.policy", "Shutdown"),
        ({"spec.idle.allowed": ["Sleep"]}, "spec.idle.allowed[0]", "Shutdown"),
        ({"spec.idle.allowed": ["Park", "Park"]}, "spec.idle.allowed[1]", "Duplicate value"),
        *(
            ({f"spec.idle.{name}": text}, f"spec.idle.{name}", why)
            for name in ("parkTime", "billingPeriod")
            for text, why in BAD_DURATIONS
        ),
        ({"spec.idle.shutdownBefore": "5"}, "spec.idle.shutdownBefore", DURATION_FORM),
        ({"spec.idle.shutdownBefore": "1h"}, "spec.idle.shutdownBefore", longer),
        ({"spec.idle.shutdownBefore": "61m"}, "spec.idle.shutdownBefore", longer),
        ({"spec.idle.billingPeriod": "300s"}, "spec.idle.shutdownBefore", longer),
    ]


def _nodes() -> list[Row]:
    rows: list[tuple[dict[str, Any], str, str]] = [
        ({"spec.idleSince": "yesterday"}, "spec.idleSince", "date-time"),
        ({"spec.patient": "yes"}, "spec.patient", "boolean"),
        ({"spec.parkedTime": "Paid"}, "spec.parkedTime", "Billed"),
    ]
    return [("RenderNode", *row) for row in rows]


def _books() -> list[Row]:
    line = {"text": "node time", "seconds": 1, "amount": "1.00"}
    account: list[tuple[dict[str, Any], str, str]] = [
        *(({"spec.currency": code}, "spec.currency", CURRENCY_FORM) for code in _CURRENCIES),
        ({"spec.currency": GONE}, "spec.currency", "Required value"),
        *(({"spec.owner": text}, "spec.owner", LINE_FORM) for text in _LINES),
        ({"spec.owner": "x" * 201}, "spec.owner", "200"),
        ({"spec.owner": GONE}, "spec.owner", "Required value"),
        ({"spec.namespaces": ["Studio"]}, "spec.namespaces[0]", "lower-case"),
        ({"spec.namespaces": ["a.b"]}, "spec.namespaces[0]", "lower-case"),
        ({"spec.namespaces": ["a", "a"]}, "spec.namespaces[1]", "Duplicate value"),
        ({"spec.namespaces": [f"a{n}" for n in range(501)]}, "spec.namespaces", "at most 500"),
    ]
    payment: list[tuple[dict[str, Any], str, str]] = [
        *(
            ({"spec.amount": text}, "spec.amount", SIGNED_FORM)
            for text in (*_MONEY, _TOO_MANY_DIGITS, "--1", "-", "- 1")
            if text != "-1"
        ),
        *(({"spec.amount": t}, "spec.amount", ZERO_AMOUNT) for t in ("0", "0.00", "-0", "-0.0")),
        ({"spec.amount": 250}, "spec.amount", "string"),
        ({"spec.amount": GONE}, "spec.amount", "Required value"),
        *(({"spec.currency": code}, "spec.currency", CURRENCY_FORM) for code in _CURRENCIES),
        *(({"spec.reference": text}, "spec.reference", LINE_FORM) for text in _LINES),
        ({"spec.reference": "x" * 201}, "spec.reference", "200"),
        ({"spec.reference": GONE}, "spec.reference", "Required value"),
        *(({"spec.accountName": name}, "spec.accountName", "lower-case") for name in BAD_NAMES),
        ({"spec.accountName": GONE}, "spec.accountName", "Required value"),
    ]
    invoice: list[tuple[dict[str, Any], str, str]] = [
        ({"metadata.name": "invoice-1"}, "metadata.name", "its session's UID"),
        ({"spec.sessionUid": "1"}, "metadata.name", "its session's UID"),
        ({"spec.currency": "eur"}, "spec.currency", CURRENCY_FORM),
        ({"spec.total": GONE}, "spec.total", "Required value"),
        ({"spec.total": "1e2"}, "spec.total", SUM_FORM),
        ({"spec.total": "-1"}, "spec.total", SUM_FORM),
        ({"spec.usedSeconds": -1}, "spec.usedSeconds", "to 0"),
        ({"spec.lines": [{**line, "day": "25.11.2026"}]}, "spec.lines[0].day", DAY_FORM),
        ({"spec.lines": [{**line, "text": "a\nb"}]}, "spec.lines[0].text", LINE_FORM),
        ({"spec.lines": [{**line, "amount": "1,5"}]}, "spec.lines[0].amount", SUM_FORM),
        ({"spec.lines": [line] * 5001}, "spec.lines", "at most 5000 items"),
    ]
    return [
        *(("RenderAccount", *row) for row in account),
        *(("RenderPayment", *row) for row in payment),
        *(("RenderInvoice", *row) for row in invoice),
    ]


CLASS_TERMS = [*_prices(), *_limits(), *_idle()]
BAD_TERMS = [*_nodes(), *_books()]

GOOD_TERMS: list[tuple[str, dict[str, Any]]] = [
    ("RenderNode", {"spec.drain": True, "spec.patient": True, "spec.parkedTime": "Free"}),
    ("RenderNode", {"spec.idleSince": "2026-11-25T12:00:00Z"}),
    ("RenderSession", {"spec.accountName": "studio-a", "spec.priority": 0}),
    ("RenderSession", {"spec.idlePolicy": "Park", "spec.priority": 100}),
    (
        "RenderNodeClass",
        {
            "spec.price": {
                "currency": "KWD",
                "machinePerHour": "999999999999.999999",
                "servicePerHour": "0.000001",
                "discounts": [{"fromHours": 10**n, "percent": f"{n}.5"} for n in range(11)],
                "rounding": "HalfEven",
                "minimum": "007",
                "unused": "Keep",
                "parkedTime": "Free",
            }
        },
    ),
    *(
        (
            "RenderNodeClass",
            {
                "spec.price": {
                    "currency": "EUR",
                    "machinePerHour": "0",
                    "discounts": [{"fromHours": 1, "percent": percent}],
                }
            },
        )
        for percent in ("0", "7.5", "99.999999", "100", "100.00")
    ),
    (
        "RenderNodeClass",
        {
            "spec.limits": {
                "nodes": 1,
                "nodesPerTenant": 1_000_000,
                "nodesPerSession": 20,
                "weights": [{"namespace": f"tenant-{n}", "weight": n + 1} for n in range(500)],
            }
        },
    ),
    ("RenderNodeClass", {"spec.idle": {"policy": "Park", "allowed": ["Shutdown", "Park"]}}),
    ("RenderNodeClass", {"spec.idle": {"billingPeriod": "1m", "shutdownBefore": "59s"}}),
    ("RenderNodeClass", {"spec.idle": {"billingPeriod": "999999h", "shutdownBefore": "0s"}}),
    ("RenderAccount", {"spec.namespaces": GONE}),
    ("RenderAccount", {"spec.owner": "Zoë & Söhne <GmbH>", "spec.currency": "ZZZ"}),
    ("RenderAccount", {"spec.namespaces": [f"{n:063}" for n in range(500)]}),
    *(
        ("RenderPayment", {"spec.amount": amount})
        for amount in ("0.000001", "-999999999999.999999", "1", "00.10", "-0.1")
    ),
    ("RenderInvoice", {"spec.lines": GONE, "spec.usedSeconds": 0, "spec.total": "0.00"}),
    (
        "RenderInvoice",
        {
            "spec.lines": [
                {"day": "2026-11-25", "text": "é" * 200, "seconds": 10**14, "amount": "9" * 33}
            ]
            * 2000
        },
    ),
]

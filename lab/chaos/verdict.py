"""What must hold once everything is at rest, and the figures of the run."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.apps import apps
from django.db import connections

from audit import Violation, audit
from lab.chaos.books import Compared
from lab.chaos.client import Client, Operation, Outcome
from lab.chaos.faults import Fired
from lab.measures import locks_left, percentiles, unfinished
from sagas.registry import local_services
from shop.contracts.orders import DELIVERY_ARRANGED, FINAL
from shop.seal import What, unseal

CHARGED_TWICE = """
    SELECT count(*) FROM (
        SELECT payment FROM payments_gatewayledger WHERE kind = 'CHARGE' GROUP BY payment HAVING count(*) > 1
    ) AS twice
"""
OVERSOLD = """
    SELECT count(*) FROM inventory_stockitem s WHERE reserved < 0 OR reserved > on_hand OR 0 > (
        SELECT coalesce(sum(delta), 0) FROM inventory_stockmovement m
        WHERE m.product_id = s.product_id AND m.location_id = s.location_id
    )
"""
ENDINGS = """
    SELECT extract(epoch FROM o.created_at), extract(epoch FROM min(t.at))
    FROM orders_order o JOIN orders_timelineentry t ON t.order_id = o.id WHERE t.status = ANY(%(final)s) GROUP BY o.id
"""
# When the first order placed after a moment reached a status; if none was placed, when any open order did.
SERVES_AGAIN = """
    SELECT extract(epoch FROM coalesce(
        (SELECT min(t.at) FROM orders_timelineentry t JOIN orders_order o ON o.id = t.order_id
         WHERE o.created_at > %(moment)s AND t.status = %(status)s),
        (SELECT min(t.at) FROM orders_timelineentry t WHERE t.at > %(moment)s AND t.status = %(status)s)
    ) - %(moment)s)
"""
# Of the orders that at a moment had neither ended nor were with the carrier: how many still have not, and when the last
# of the others did.
CAUGHT_UP = """
    WITH before AS (
        SELECT DISTINCT ON (order_id) order_id, status FROM orders_timelineentry
        WHERE at <= %(moment)s ORDER BY order_id, at DESC, id DESC
    ), waiting AS (
        SELECT (
            SELECT min(at) FROM orders_timelineentry t
            WHERE t.order_id = before.order_id AND at > %(moment)s AND t.status = ANY(%(rest)s)
        ) AS until FROM before WHERE status <> ALL(%(rest)s)
    )
    SELECT count(*) FILTER (WHERE until IS NULL), coalesce(extract(epoch FROM max(until) - %(moment)s), 0) FROM waiting
"""
AT_REST = (*DELIVERY_ARRANGED, *FINAL)
SOON = 60.0  # seconds that recovery from a single fault may take


@dataclass
class Verdict:
    """Everything that was found. `wrong` counts what must not happen: the run is good if all counts are zero."""

    seed: int
    wrong: dict[str, int]
    findings: list[str]  # one line per problem
    outcomes: dict[str, int]
    unknown_because: dict[str, int]  # the last status or error of operations with an unknown outcome
    kinds: dict[str, int]
    statuses: dict[str, int]
    returns: dict[str, int]  # by status
    books: Sequence[Compared]  # of the providers, if there are any
    faults: list[Fired]
    restarts: int
    dead_letters: dict[str, int]  # events given up and handled later, by step; the audit reports the others
    seconds: float  # from the first order to the last one's answer
    seconds_to_rest: float  # from the last fault's end until everything was at rest
    endings: list[tuple[float, float]] = field(repr=False)  # of each order: when it was placed, and ended
    placed: list[tuple[float, float]] = field(repr=False)  # of each acknowledged order: when it was sent, and answered

    @property
    def good(self) -> bool:
        return not any(self.wrong.values())

    def figures(self) -> dict[str, Any]:
        """The summary as plain data."""
        answers = [ended - began for began, ended in self.placed]
        lives = [ended - began for began, ended in self.endings]
        return {
            "seed": self.seed,
            "good": self.good,
            "wrong": self.wrong,
            "findings": self.findings,
            "operations": self.outcomes,
            "unknownBecause": self.unknown_because,
            "kinds": self.kinds,
            "statuses": self.statuses,
            "returns": self.returns,
            "books": [one._asdict() for one in self.books],
            "faults": [vars(one) for one in self.faults],
            "recovery": self.recovery(),
            "restarts": self.restarts,
            "deadLettersResolved": self.dead_letters,
            "seconds": round(self.seconds, 1),
            "secondsToRest": round(self.seconds_to_rest, 1),
            "ordersPerSecond": round(len(self.endings) / self.seconds, 1) if self.seconds else 0.0,
            "answer": percentiles(answers),
            "orderToEnd": percentiles(lives),
        }

    def recovery(self) -> dict[str, dict[str, float]]:
        """Return, by kind of fault, how often it fired, and the median and longest recovery in seconds."""
        by_kind: dict[str, list[Fired]] = defaultdict(list)
        for one in self.faults:
            by_kind[one.kind].append(one)
        return {
            kind: {
                "fired": sum(not one.failure for one in fired),
                "median": round(statistics.median(times), 1) if times else 0.0,
                "max": round(max(times), 1) if times else 0.0,
            }
            for kind, fired in sorted(by_kind.items())
            for times in [[one.recovered_after for one in fired if one.recovered_after is not None and not one.failure]]
        }


def judge(
    client: Client,
    faults: list[Fired],
    *,
    seed: int,
    restarts: int,
    seconds_to_rest: float,
    one_by_one: bool,
    books: Sequence[Compared] = (),
) -> Verdict:
    """Compare the client's records with the databases, and audit these."""
    placed = [one for one in client.operations if one.what == "place"]
    orders = _orders_by_marker()
    statuses = dict(apps.get_model("orders.Order").objects.values_list("pk", "status"))
    for one in faults:
        if one.recovered_after is None:
            one.recovered_after = recovery(one)
    found = {
        "lost": list(_lost(placed, orders)),
        "placed twice": [f"{marker} is orders {ids}" for marker, ids in orders.items() if len(ids) > 1],
        "never asked for": list(_strangers(placed, orders)),
        "cancellations lost": _lost_later(
            client.operations, "cancel", _orders_of("orders.TimelineEntry", event="OrderCancellationRequested")
        ),
        "changes lost": _lost_later(client.operations, "change", _orders_of("orders.OrderChange")),
        "returns lost": _lost_later(client.operations, "return", _orders_of("orders.Return")),
        "double charges": ["a payment with two charges"] * _count("payments", CHARGED_TWICE),
        "oversold": ["a product"] * _count("inventory", OVERSOLD),
        "stuck": [f"order {pk} is {status}" for pk, status in statuses.items() if status not in FINAL]
        + [f"{count} {what} not at rest" for what, count in unfinished().items()],
        "locks left": locks_left(),
        "audit": [
            f"{one.invariant}: {one.subject}: {one.detail}" for one in audit(strict=True) if isinstance(one, Violation)
        ],
        "differences from providers' books": [f"{one.gateway}: {line}" for one in books for line in one.differences],
        "faults not fired": [f"{one.number} {one.kind}: {one.failure}" for one in faults if one.failure],
        "slow recoveries": [
            f"{one.number} {one.kind}: {one.recovered_after or 'never'}"
            for one in faults
            if one_by_one and (one.recovered_after is None or one.recovered_after > SOON)
        ],
    }
    return Verdict(
        seed=seed,
        wrong={what: len(lines) for what, lines in found.items()},
        findings=[f"{what}: {line}" for what, lines in found.items() for line in lines],
        outcomes=dict(sorted(Counter(f"{one.what} {one.outcome}" for one in client.operations).items())),
        unknown_because=dict(
            Counter(one.said for one in client.operations if one.outcome == Outcome.UNKNOWN).most_common()
        ),
        kinds=dict(Counter(one.planned.kind for one in placed).most_common()),
        statuses=dict(Counter(statuses.values()).most_common()),
        returns=dict(Counter(apps.get_model("orders.Return").objects.values_list("status", flat=True)).most_common()),
        books=books,
        faults=faults,
        restarts=restarts,
        dead_letters=_dead_letters(),
        seconds=client.ended - client.began,
        seconds_to_rest=seconds_to_rest,
        endings=endings(),
        placed=[(one.began, one.ended) for one in placed if one.outcome == Outcome.OK],
    )


def endings() -> list[tuple[float, float]]:
    """Return when each order that has ended was placed, and ended: not when something came after, as a return does."""
    with connections["orders"].cursor() as cursor:
        cursor.execute(ENDINGS, {"final": list(FINAL)})
        return [(float(began), float(ended)) for began, ended in cursor.fetchall()]


def recovery(fault: Fired) -> float | None:
    """Return the seconds from the end of a fault until recovery; None before that.

    Recovery means that every order placed before the fault's end has ended or is with the carrier, and one placed after
    it is paid and on its way (after a fault of beat: completed).
    """
    moment = datetime.fromtimestamp(fault.ended, UTC)
    with connections["orders"].cursor() as cursor:
        cursor.execute(CAUGHT_UP, {"moment": moment, "rest": list(AT_REST)})
        still_open, caught_up = cursor.fetchone()
        cursor.execute(SERVES_AGAIN, {"moment": moment, "status": fault.witness})
        (serves_again,) = cursor.fetchone()
    return None if still_open or serves_again is None else float(max(caught_up, serves_again))


def _orders_by_marker() -> dict[str, list[int]]:
    """Return the orders by the marker of the planned one, which is in the sealed address of their first event. Of those
    that are given in exchange delivery knows the address."""
    orders: dict[str, list[int]] = defaultdict(list)
    created = apps.get_model("orders.Outbox").objects.filter(event_type="OrderCreated")
    given = apps.get_model("orders.Order").objects.filter(exchange_for__isnull=False).values("pk")
    placed = created.exclude(correlation_id__in=given)
    for pk, payload in placed.values_list("correlation_id", "payload").iterator():
        address = unseal(payload["checkout"]["address"], What.ADDRESS, order_id=pk)
        orders[address.split()[0]].append(pk)
    return orders


def _lost(placed: Sequence[Operation], orders: dict[str, list[int]]) -> Iterable[str]:
    for one in placed:
        if one.outcome == Outcome.OK and one.order_id not in orders.get(one.planned.marker, ()):
            yield f"order {one.order_id} ({one.planned.marker}) was acknowledged and is not there"


def _strangers(placed: Sequence[Operation], orders: dict[str, list[int]]) -> Iterable[str]:
    known = {one.planned.marker: one for one in placed}
    for marker, ids in orders.items():
        if marker not in known or known[marker].outcome == Outcome.FAILED:
            yield f"orders {ids} ({marker}): the client was told that there are none"


def _orders_of(model: str, **which: str) -> set[int]:
    return set(apps.get_model(model).objects.filter(**which).values_list("order_id", flat=True))


def _lost_later(operations: Sequence[Operation], what: str, known: set[int]) -> list[str]:
    return [
        f"the {what} of order {one.order_id} was acknowledged and is not there"
        for one in operations
        if one.what == what and one.outcome == Outcome.OK and one.order_id not in known
    ]


def _dead_letters() -> dict[str, int]:
    found: Counter[str] = Counter()
    for service in local_services():
        letters = apps.get_model(service, "DeadLetter").objects.filter(resolved_at__isnull=False)
        found.update(letters.values_list("step", flat=True))
    return dict(found.most_common())


def _count(service: str, sql: str) -> int:
    with connections[service].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]

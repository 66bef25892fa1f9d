"""The saga of one order as rows of a page: one lane per service, one row per event, oldest first."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.apps import apps
from django.urls import reverse
from django.utils import timezone

from sagas.outages import OUTAGES
from shop.contracts.orders import FINAL, RETURN_FINAL
from shop.operations.timeline import LANES, Dead, Entry, Story, Waiting, story

PAUSE = 1.0  # seconds between events from which the page shows a gap
MODELS = {  # each service's row of an order
    "orders": "order",
    "inventory": "reservation",
    "payments": "payment",
    "delivery": "delivery",
    "notifications": "notification",
}


@dataclass
class Row:
    """A row of the page. `kind` is "handled", "emitted" (from an outbox), "dead" or "waiting"."""

    kind: str
    service: str
    since: str  # time since the order was placed; of a waiting row, since the event was emitted
    event: str
    step: str = ""
    emitted: tuple[str, ...] = ()
    backward: bool = False
    repeats: int = 0
    letter: Dead | None = None
    pause: str = ""  # the gap before this row, if it is long
    event_id: UUID | None = None
    cause: "Row | None" = None  # the row in which this one's event was emitted, if it is another

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return f"{self.kind}-{self.step}-{self.event_id}"

    @property
    def lane(self) -> int:
        """The lane's index."""
        return LANES.index(self.service)

    @property
    def words(self) -> list[str]:
        """The event's name, split where a line may break."""
        return re.findall("[A-Z][a-z]*|.+", self.event)


@dataclass
class Saga:
    """An order and its story. `order` is None if it does not exist or its database is down."""

    order_id: int
    order: Any
    lines: list[Any]
    trace: str  # trace id; empty if the order was not traced
    told: Story
    orders_away: bool
    changes: list[Any] = field(default_factory=list)
    returns: list[Any] = field(default_factory=list)
    exchange_for: Any = None  # the return for which it is given

    @property
    def exists(self) -> bool:
        """Whether the order may exist: it is found, its database is down, or other services know it."""
        return bool(self.order or self.orders_away or self.told.entries)

    @property
    def final(self) -> bool:
        """Whether the order's status is final. Other services may still be working: see `ended`."""
        return bool(self.order and self.order.status in FINAL)

    @property
    def ended(self) -> bool:
        """Whether no more rows can follow, as long as nobody requests a return."""
        return self.final and not (self.told.waiting or self.told.away or self.returning)

    @property
    def returning(self) -> bool:
        """Whether a return of the order is under way."""
        return any(one.status not in RETURN_FINAL for one in self.returns)

    @property
    def start(self) -> datetime:
        first: datetime | None = self.order.created_at if self.order else None
        return first or (self.told.entries[0].at if self.told.entries else timezone.now())

    @property
    def took(self) -> str:
        """Time from placing to the end, or until now."""
        end = self.order.progress_at if self.final else timezone.now()
        return duration((end - self.start).total_seconds())

    def rows(self) -> Iterator[Row]:
        """What has happened, then the events that are still waiting."""
        happened: list[Entry | Dead] = sorted((*self.told.entries, *self.told.dead), key=lambda one: one.at)
        before = self.start
        emitted_in: dict[UUID, Row] = {}
        for one in happened:
            row = self._dead(one) if isinstance(one, Dead) else self._entry(one)
            row.cause = emitted_in.get(row.event_id) if row.event_id else None
            if isinstance(one, Entry):
                emitted_in |= dict.fromkeys(one.led_to, row)
            idle = (one.at - before).total_seconds()
            row.pause = duration(idle) if idle >= PAUSE else ""
            before = one.at
            yield row
        for waiting in self.told.waiting:
            row = self._waiting(waiting)
            row.cause = emitted_in.get(waiting.event_id)
            yield row

    def _entry(self, entry: Entry) -> Row:
        return Row(
            kind="handled" if entry.step else "emitted",
            service=entry.service,
            since=self._since(entry.at),
            event=entry.event,
            step=entry.step.partition(".")[2],
            emitted=entry.emitted,
            backward=entry.backward,
            repeats=entry.repeats,
            event_id=entry.key[1],
        )

    def _dead(self, letter: Dead) -> Row:
        return Row(
            kind="dead",
            service=letter.service,
            since=self._since(letter.at),
            event=letter.event or "?",
            step=letter.step.partition(".")[2],
            letter=letter,
            event_id=letter.event_id,
        )

    def _waiting(self, one: Waiting) -> Row:
        return Row(
            kind="waiting",
            service=one.service,
            since=duration(one.age),
            event=one.event,
            step=one.step.partition(".")[2],
            event_id=one.event_id,
        )

    def _since(self, at: datetime) -> str:
        return f"+{duration((at - self.start).total_seconds())}"


def look_up(order_id: int) -> Saga:
    """Read an order's saga as it is now."""
    order, lines, trace, away, exchange_for = None, [], "", False, None
    changes: list[Any] = []
    returns: list[Any] = []
    try:
        order = apps.get_model("orders", "Order").objects.filter(pk=order_id).first()
        if order:
            lines = list(order.items.order_by("pk"))
            changes = list(order.changes.order_by("pk"))
            exchange_for = order.exchange_for
            returns = list(order.returns.order_by("pk"))
            names = {line.product_id: line.product_name for line in lines}
            names |= {line.exchange_product_id: line.exchange_product_name for one in returns for line in one.lines}
            for one in returns:
                one.what = [f"{line.quantity} × {names.get(line.product_id, line.product_id)}" for line in one.lines]
            created = apps.get_model("orders", "Outbox").objects.filter(
                correlation_id=order_id, event_type="OrderCreated"
            )
            parent = created.values_list("payload__trace", flat=True).first() or ""
            trace = parent.split("-")[1] if parent.count("-") == 3 else ""
    except OUTAGES:
        away = True
    return Saga(order_id, order, lines, trace, story(order_id), away, changes, returns, exchange_for)


def rows_in_admin(order_id: int, user: Any) -> list[tuple[str, str]]:
    """Return (service, URL) of the admin pages about an order that the user may see."""
    addresses = {
        service: f"{reverse(f'admin:{service}_{model}_changelist')}?q={order_id}" for service, model in MODELS.items()
    }
    addresses["orders"] = reverse("admin:orders_order_change", args=[order_id])
    return [
        (service, address)
        for service, address in addresses.items()
        if user.has_perm(f"{service}.view_{MODELS[service]}")
    ]


def duration(seconds: float) -> str:
    """Seconds in a readable form: 34 ms, 3.21 s, 2 min 5 s."""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

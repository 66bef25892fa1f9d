"""The saga of one order as rows of a page: a lane per service, every event as it arrived, oldest first."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.urls import reverse
from django.utils import timezone

from sagas.outages import OUTAGES
from shop.contracts.orders import FINAL
from shop.operations.timeline import LANES, Dead, Entry, Story, Waiting, story

PAUSE = 1.0  # seconds without an event from which on the page says so
MODELS = {  # what each service keeps of an order
    "orders": "order",
    "inventory": "reservation",
    "payments": "payment",
    "delivery": "delivery",
    "notifications": "notification",
}


@dataclass
class Row:
    """One line of the page. `kind` is "handled", "emitted" (by itself, from an outbox), "dead" or "waiting"."""

    kind: str
    service: str
    since: str  # the order began
    event: str
    step: str = ""
    emitted: tuple[str, ...] = ()
    backward: bool = False
    repeats: int = 0
    letter: Dead | None = None
    pause: str = ""  # how long nothing had happened before

    @property
    def lane(self) -> int:
        """The lane's number, from 0."""
        return LANES.index(self.service)

    @property
    def words(self) -> list[str]:
        """The event's name, where it may be broken."""
        return re.findall("[A-Z][a-z]*|.+", self.event)


@dataclass
class Saga:
    """An order and its rows. `order` is None when its database is away, or when there is none."""

    order_id: int
    order: Any
    lines: list[Any]
    trace: str  # the id of its trace, if it was traced
    told: Story
    orders_away: bool

    @property
    def exists(self) -> bool:
        """Whether anything is known of such an order."""
        return bool(self.order or self.orders_away or self.told.entries)

    @property
    def final(self) -> bool:
        """Whether the order has ended."""
        return bool(self.order and self.order.status in FINAL)

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self.final and not self.told.waiting and not self.told.away

    @property
    def start(self) -> datetime:
        first: datetime | None = self.order.created_at if self.order else None
        return first or (self.told.entries[0].at if self.told.entries else timezone.now())

    @property
    def took(self) -> str:
        """From the order to its end, or until now."""
        end = self.order.progress_at if self.final else timezone.now()
        return duration((end - self.start).total_seconds())

    def rows(self) -> Iterator[Row]:
        """What happened, and then what is still waited for."""
        happened: list[Entry | Dead] = sorted((*self.told.entries, *self.told.dead), key=lambda one: one.at)
        before = self.start
        for one in happened:
            row = self._dead(one) if isinstance(one, Dead) else self._entry(one)
            idle = (one.at - before).total_seconds()
            row.pause = duration(idle) if idle >= PAUSE else ""
            before = one.at
            yield row
        yield from map(self._waiting, self.told.waiting)

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
        )

    def _dead(self, letter: Dead) -> Row:
        return Row(
            kind="dead",
            service=letter.service,
            since=self._since(letter.at),
            event=letter.event or "?",
            step=letter.step.partition(".")[2],
            letter=letter,
        )

    def _waiting(self, one: Waiting) -> Row:
        waits = duration((timezone.now() - one.at).total_seconds())
        return Row(kind="waiting", service=one.service, since=waits, event=one.event, step=one.step.partition(".")[2])

    def _since(self, at: datetime) -> str:
        return f"+{duration((at - self.start).total_seconds())}"


def look_up(order_id: int) -> Saga:
    """An order's saga as it is now."""
    order, lines, trace, away = None, [], "", False
    try:
        order = apps.get_model("orders", "Order").objects.filter(pk=order_id).first()
        if order:
            lines = list(order.items.order_by("pk"))
            created = apps.get_model("orders", "Outbox").objects.filter(order_id=order_id, event_type="OrderCreated")
            parent = created.values_list("payload__trace", flat=True).first() or ""
            trace = parent.split("-")[1] if parent.count("-") == 3 else ""
    except OUTAGES:
        away = True
    return Saga(order_id, order, lines, trace, story(order_id), away)


def rows_in_admin(order_id: int, user: Any) -> list[tuple[str, str]]:
    """(service, address) of what the admin shows of an order, as far as a user may see it."""
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
    """As one reads it: 34 ms, 3.21 s, 2 min 5 s."""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

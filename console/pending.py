"""Why an order's saga makes no progress at the moment, and when it is tried again."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.apps import apps
from django.utils.timezone import localtime

from console.saga import Saga
from console.state import state
from desk import words
from sagas.outages import OUTAGES
from shop.contracts.orders import FINAL, RETURN_FINAL

OPEN_CHANGES = ("WAITING", "REQUESTED")
PATIENCE = 3.0  # seconds that an event may wait before its queue is examined for the reason


@dataclass
class Pending:
    """A reason, the time of the next attempt if there is one, and the page where the customer pays."""

    why: str
    at: datetime | None = None
    url: str = ""


def pending(found: Saga, t: Mapping[str, str], *, recipients: bool) -> list[Pending]:
    """Return what the saga waits for, as far as the databases answer. `recipients` says whether the reader may see to
    whom messages go, as their errors may name them."""
    if found.ended:
        return []
    reasons: list[Pending] = []
    for part in (_payment, _delivery, partial(_notifications, recipients=recipients)):
        with suppress(*OUTAGES):  # the page names databases that are down
            reasons += part(found.order_id, t)
    reasons += (
        Pending(t["pending_letter"] % {"step": letter.step, "event": letter.event or "?"})
        for letter in found.told.dead
        if not letter.resolution
    )
    reasons += (Pending(t[f"pending_change_{one.status}"]) for one in found.changes if one.status in OPEN_CHANGES)
    reasons += (
        Pending(t[f"pending_return_{one.status}"] % {"number": one.pk})
        for one in found.returns
        if one.status not in RETURN_FINAL
    )
    reasons += _queues(found, t)
    if found.order and found.order.status not in FINAL and found.order.look_at:
        reasons.append(Pending(t["pending_look"], found.order.look_at))
    return reasons


def _payment(order_id: int, t: Mapping[str, str]) -> Iterator[Pending]:
    for row in _rows("payments.Payment", order_id):
        if row.status == "WAITING" and not row.attempts:
            until = f"{localtime(row.action_until):%Y-%m-%d %H:%M}"
            why = t["pending_customer"] % {"gateway": row.gateway, "until": until}
            yield Pending(why, url=row.action_url if _is_web(row.action_url) else "")
        elif row.due_at:
            asked = row.asked.order_by("-pk").first()
            last = words.reason(asked.detail or asked.outcome) if asked else ""
            why = t["pending_payment"] % {"gateway": row.gateway, "attempts": row.attempts}
            yield Pending(f"{why} ({last})" if last else why, row.due_at)
        elif row.status == "PENDING":
            yield Pending(t["pending_charge"] % {"gateway": row.gateway})


def _delivery(order_id: int, t: Mapping[str, str]) -> Iterator[Pending]:
    for row in _rows("delivery.Delivery", order_id):
        if row.due_at:
            yield Pending(t["pending_carrier" if row.status == "PREPARING" else "pending_door"], row.due_at)


def _notifications(order_id: int, t: Mapping[str, str], *, recipients: bool) -> Iterator[Pending]:
    for row in _rows("notifications.Notification", order_id).filter(status="PENDING", attempts__gt=0):
        error = row.error.partition("\n")[0][:120] if recipients else "…"
        told = {"channel": row.channel, "attempts": row.attempts, "error": error}
        yield Pending(t["pending_message"] % told, row.due_at)


def _queues(found: Saga, t: Mapping[str, str]) -> Iterator[Pending]:
    """Yield why the queues of services for which an event waits do not move, such as a missing worker."""
    late = {one.service for one in found.told.waiting if one.age > PATIENCE}
    if not late:
        return
    now = state()
    if now.broker == "down":
        yield Pending(t["broker_down"])
    for service in now.services:
        if service.name in late and service.queue and service.queue.consumers == 0:
            yield Pending(f"{service.name}: {t['no_consumer']}")
    if now.faults:
        yield Pending(f"{t['faults_on']} {', '.join(f'{name} {value:g}' for name, value in now.faults.items())}")


def _is_web(url: str) -> bool:
    """Whether it is safe to link to it."""
    return url.startswith(("https://", "http://"))


def _rows(model: str, order_id: int) -> Any:
    rows: Any = apps.get_model(model)
    return rows.objects.filter(order_id=order_id)

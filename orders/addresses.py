"""Where orders are to go. Delivery has that in clear; here it is sealed, in the first events of orders and in changes,
and is kept no longer than events are."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from fastdb.clock import database_time
from orders.changes.models import unsealed
from orders.models import OrderChange, Outbox
from shop.contracts.events import OrderCreated
from shop.redaction import blank_portion


class Wanted(NamedTuple):
    """Where an order was to go when it was placed, or by a change; empty if that cannot be unsealed any more."""

    order_id: int
    address: str
    change_id: UUID | None = None


def wanted_of(order_ids: Collection[int]) -> list[Wanted]:
    """What is still known of these orders, oldest first."""
    created = Outbox.objects.filter(correlation_id__in=order_ids, event_type=OrderCreated.__name__).order_by("pk")
    changes = OrderChange.objects.filter(order_id__in=order_ids).exclude(address="").order_by("pk")
    sealed = [
        *(
            (pk, payload["checkout"].get("address"), None)
            for pk, payload in created.values_list("correlation_id", "payload")
        ),
        *changes.values_list("order_id", "address", "pk"),
    ]
    return [Wanted(pk, unsealed(text, pk), change) for pk, text, change in sealed if text]


def current(order_id: int) -> str:
    """Where an order goes now; empty if nobody here can tell any more."""
    made = OrderChange.objects.filter(order=order_id, status=OrderChange.Status.MADE).values_list("pk", flat=True)
    counts = {None, *made}
    return next((one.address for one in reversed(wanted_of([order_id])) if one.change_id in counts), "")


def forget_old() -> int:
    """Forget a portion of the addresses that changes have brought; how many that was."""
    old = [database_time("orders") - settings.SAGAS.retention]
    table = OrderChange._meta.db_table
    return blank_portion("orders", table, "address = '', request_hash = ''", "address <> '' AND updated_at < %s", old)

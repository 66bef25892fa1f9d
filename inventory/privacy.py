"""The data that inventory has about customers: the reservations and movements of their orders."""

from collections.abc import Collection, Sequence

from inventory.models import Reservation, ReservationLine, StockMovement
from shop.calls.personal import listed
from shop.contracts.events import CustomerErased, orders_of
from shop.contracts.personal import Rows
from shop.contracts.reasons import CARRIER, ERASED
from shop.redaction import redact_messages


def of_orders(order_ids: Collection[int]) -> Rows:
    """Return the data about these orders."""
    lines = ReservationLine.objects.filter(reservation__order_id__in=order_ids)
    return {
        "reservations": listed(Reservation.objects.filter(order_id__in=order_ids).order_by("order_id")),
        "reservation_lines": listed(lines.order_by("pk")),
        "stock_movements": listed(StockMovement.objects.filter(order_id__in=order_ids).order_by("pk")),
    }


def erase(erased: Sequence[CustomerErased]) -> None:
    """Erase what identifies these customers. Must run inside a transaction on inventory."""
    order_ids = orders_of(erased)
    Reservation.objects.filter(order_id__in=order_ids, reason__startswith=CARRIER).update(reason=ERASED)
    StockMovement.objects.filter(order_id__in=order_ids, reason__startswith=CARRIER).update(reason=ERASED)
    redact_messages("inventory", order_ids)

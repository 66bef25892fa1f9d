"""Orders as CSV, of any number, in the memory of a few hundred: one row each, without anybody's name.

The API's file has its totals in the minor unit, as the API has them; the admin's as on a price tag.

They are read in pages by key, newest first, each a short statement. One cursor over all of them would keep a
transaction open for as long as the slowest client takes, or have the server write down the whole answer first.
"""

import csv
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from desk.cells import major_units, shielded
from orders.models import Order

PAGE = 500  # orders in memory
COLUMNS = (
    *("id", "userId", "status", "cancellationReason", "currency", "totalPrice", "paymentGateway", "trackingNumber"),
    *("exchangeFor", "items", "createdAt", "updatedAt"),
)
CSV = "text/csv"


def answer(orders: QuerySet[Order], *, priced: bool = False) -> StreamingHttpResponse:
    """These orders as a file. The byte order mark has spreadsheets read it as UTF-8."""
    headers = {"Content-Disposition": 'attachment; filename="orders.csv"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(lines(orders, priced=priced), content_type=f"{CSV}; charset=utf-8", headers=headers)


def lines(orders: QuerySet[Order], *, priced: bool = False) -> Iterator[str]:
    """The lines of the file; `priced` with a `total` as on a price tag, else with `totalPrice`. Orders that are placed
    meanwhile are not in it."""
    writer = csv.writer(_Echo())
    yield "\ufeff" + writer.writerow("total" if priced and name == "totalPrice" else name for name in COLUMNS)
    page = orders.prefetch_related("items").order_by("-pk")
    last: int | None = None
    while rows := list((page if last is None else page.filter(pk__lt=last))[:PAGE]):
        yield "".join(writer.writerow(map(shielded, _row(order, priced))) for order in rows)
        last = rows[-1].pk


def _row(order: Order, priced: bool) -> list[Any]:
    return [
        order.pk,
        order.user_id,
        order.status,
        order.cancellation_reason,
        order.currency,
        major_units(order.total_price, order.currency) if priced else order.total_price,
        order.payment_gateway,
        order.tracking_number,
        order.exchange_for_id,
        " ".join(f"{line.product_id}x{line.quantity}" for line in order.items.all()),
        *(at.astimezone(UTC).isoformat().replace("+00:00", "Z") for at in (order.created_at, order.updated_at)),
    ]


class _Echo:
    """A file whose `write` gives back what is written, so that the writer's `writerow` does."""

    def write(self, text: str) -> str:
        return text

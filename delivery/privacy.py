"""What delivery keeps that names a customer, and for how long: where their parcels went, and what carriers said."""

from collections.abc import Collection, Sequence
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from delivery.models import CarrierEvent, Delivery, ReturnParcel
from delivery.shipments import lock
from fastdb.clock import database_time
from shop.calls.personal import listed
from shop.contracts.events import CustomerErased, orders_of
from shop.contracts.personal import Rows
from shop.contracts.reasons import CARRIER, ERASED
from shop.redaction import blank_portion, redact_messages

# By the age of the parcel, too: the index has that of each parcel with an address.
OLD = "created_at < %s AND address <> '' AND updated_at < %s AND due_at IS NULL"


def of_orders(order_ids: Collection[int]) -> Rows:
    """What is kept of these orders."""
    deliveries = Delivery.objects.filter(order_id__in=order_ids)
    parcels = ReturnParcel.objects.filter(order_id__in=order_ids)
    return {
        "deliveries": listed(deliveries.order_by("order_id")),
        "return_parcels": listed(parcels.order_by("return_id")),
        "carrier_events": listed(_told_of(deliveries).union(_told_of(parcels)).order_by("pk")),
    }


def _told_of(parcels: QuerySet[Any]) -> QuerySet[Any]:
    """What carriers have told of these."""
    return CarrierEvent.objects.filter(
        Exists(parcels.filter(tracking_number=OuterRef("tracking_number"), account=OuterRef("carrier")))
    )


def erase(erased: Sequence[CustomerErased]) -> None:
    """Keep nothing that names these customers. Runs inside a transaction on delivery."""
    order_ids = orders_of(erased)
    lock(order_ids)
    deliveries = Delivery.objects.filter(order_id__in=order_ids)
    parcels = ReturnParcel.objects.filter(order_id__in=order_ids)
    list(parcels.select_for_update().order_by("return_id"))
    for rows in (_told_of(deliveries), _told_of(parcels), parcels):
        rows.update(reason="")
    deliveries.update(address="", label_url="")
    deliveries.filter(reason__startswith=CARRIER).update(reason=ERASED)
    redact_messages("delivery", order_ids)


def blank_old() -> int:
    """Forget the addresses of one portion of the parcels that ended PRIVACY_AFTER ago; how many that was."""
    before = database_time("delivery") - settings.PRIVACY_AFTER
    return blank_portion("delivery", Delivery._meta.db_table, "address = '', label_url = ''", OLD, [before, before])

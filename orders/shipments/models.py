"""The tables of shipments, and of the tracking numbers that orders are found by. Django finds them by the list in
`orders/models.py`."""

from dataclasses import dataclass

from django.db import models

from sagas.db.fields import TextualJSONField


class OrderShipment(models.Model):
    """One of several shipments of an order, as delivery tells of it. An order with only one has none of these."""

    class Status(models.TextChoices):  # in the order in which they come
        STARTED = "STARTED"  # a carrier is to fetch it
        SHIPPED = "SHIPPED"
        DELIVERED = "DELIVERED"
        FAILED = "FAILED"  # its pieces came back, or never left

    order = models.ForeignKey(
        "orders.Order", on_delete=models.CASCADE, related_name="several_shipments", db_index=False
    )
    number = models.PositiveSmallIntegerField()
    location = models.CharField(max_length=16)
    lines = TextualJSONField(help_text="What is in it.")
    status = models.CharField(max_length=16, choices=Status.choices)
    tracking_number = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "number"], name="orders_shipment_once")]

    def __str__(self) -> str:
        return f"shipment {self.number} of order {self.order_id}: {self.status}"


@dataclass(frozen=True)
class ShipmentView:
    """A shipment as its customer sees it."""

    number: int
    status: str
    tracking_number: str
    items: list[dict[str, int]]


class ParcelNumber(models.Model):
    """A tracking number that an order has, or had before its parcel was booked again: what orders are found by.

    The database checks no foreign key: a number is written while its order is locked.
    """

    pk = models.CompositePrimaryKey("number", "order")
    number = models.CharField(max_length=64)
    order = models.ForeignKey(
        "orders.Order", on_delete=models.CASCADE, related_name="numbers", db_index=False, db_constraint=False
    )

    def __str__(self) -> str:
        return f"{self.number} of order {self.order_id}"

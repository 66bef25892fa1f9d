"""The tables of changes. Django finds them by the list in `orders/models.py`."""

from functools import cached_property

from django.db import models
from django.db.models.functions import Now

from shop.seal import What, unseal


def unsealed(address: str, order_id: int) -> str:
    """Unseal an order's address; empty if that is forgotten, or was sealed with a secret that was replaced at once."""
    try:
        return unseal(address, What.ADDRESS, order_id=order_id) if address else ""
    except ValueError:
        return ""


class OrderChange(models.Model):
    """A change of an order before its parcel is handed over, asked for by its customer or by staff.

    `amount` is what there is to pay for it; less than nothing is given back. The order's lines, which are snapshots of
    prices, change with it. `address` is where the order is to go instead, sealed; it is forgotten when the change is
    refused, and with the events of its time. That it was one of the address is kept.
    """

    class Status(models.TextChoices):
        WAITING = "WAITING"  # for the order to be paid
        REQUESTED = "REQUESTED"
        MADE = "MADE"
        REFUSED = "REFUSED"
        CANCELLED_ORDER = "CANCELLED_ORDER"  # nothing would be left of the order: its cancellation was asked for

    id = models.UUIDField(primary_key=True)
    order = models.ForeignKey("orders.Order", on_delete=models.CASCADE, related_name="changes", db_index=False)
    key = models.CharField(max_length=255, help_text="The Idempotency-Key of who asked for it.")
    request_hash = models.CharField(max_length=64)
    amount = models.BigIntegerField()
    of_address = models.BooleanField(db_default=False, help_text="Whether the order goes elsewhere by it.")
    address = models.TextField(blank=True, db_default="", help_text="Sealed.")
    reason = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, db_default=Status.REQUESTED)
    refusal = models.CharField(max_length=200, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "key"], name="orders_change_once"),
            models.UniqueConstraint(
                fields=["order"],
                condition=models.Q(status__in=["WAITING", "REQUESTED"]),
                name="orders_one_change_at_a_time",
            ),
            models.CheckConstraint(
                condition=models.Q(status="REFUSED") | models.Q(refusal=""), name="orders_change_refusal_of_refused"
            ),
        ]

    def __str__(self) -> str:
        return f"change of order {self.order_id}: {self.status}"

    @cached_property
    def pieces(self) -> list["OrderChangeLine"]:
        """Its lines, loaded once."""
        return list(self.lines.all())

    @property
    def user_id(self) -> int:
        """Whose order it is of."""
        return self.order.user_id

    @property
    def new_address(self) -> str:
        """Where the order is to go instead; empty if that stays, or is forgotten."""
        return unsealed(self.address, self.order_id)


class OrderChangeLine(models.Model):
    """So many pieces of a product more, or fewer, at the price of the order's line."""

    # Found by what must be unique, which begins with it.
    change = models.ForeignKey(OrderChange, on_delete=models.CASCADE, related_name="lines", db_index=False)
    product_id = models.BigIntegerField()
    product_name = models.CharField(max_length=200)
    unit_price = models.BigIntegerField()
    quantity = models.IntegerField(help_text="Of the change: less than nothing is taken away.")

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["change", "product_id"], name="orders_change_line_once"),
            models.CheckConstraint(condition=~models.Q(quantity=0), name="orders_change_line_changes"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity:+d} × {self.product_name}"

    @property
    def line_total(self) -> int:
        """In the currency's minor unit."""
        return self.unit_price * self.quantity

"""A return: what is to come back, what was found when it came, and what was paid back for it."""

from functools import cached_property

from django.db import models
from django.db.models.functions import Now


class Return(models.Model):
    """Pieces of an order that its customer sends back.

    Numbered in the sequence of orders, so that a number means an order or a return, also to carriers and in messages.
    `refund_due` is what the inspected pieces cost, less what the owner's rule keeps; of an exchange, what those cost
    that its order did not bring. `refunded` is what was given back.
    `look_at` is when the return is next checked for a lost message, or for a parcel that has not come in time.
    Amounts are integers in the currency's minor unit.
    """

    class Kind(models.TextChoices):
        REFUND = "REFUND"
        EXCHANGE = "EXCHANGE"  # another order brings pieces for those taken back; what does not arrive is refunded

    class Status(models.TextChoices):
        REQUESTED = "REQUESTED"
        APPROVED = "APPROVED"  # the parcel is awaited
        LOST = "LOST"  # the carrier says that it will not come: staff decide
        RECEIVED = "RECEIVED"  # to be inspected
        SETTLING = "SETTLING"  # inspected; stock and money are being moved
        EXCHANGING = "EXCHANGING"  # the order that it is exchanged for is on its way
        REFUND_REFUSED = "REFUND_REFUSED"  # staff decide
        COMPLETED = "COMPLETED"
        REFUSED = "REFUSED"
        WITHDRAWING = "WITHDRAWING"  # by the customer; no parcel is to come
        WITHDRAWN = "WITHDRAWN"
        EXPIRING = "EXPIRING"  # the parcel did not come in time
        EXPIRED = "EXPIRED"

    id = models.BigIntegerField(primary_key=True)
    order = models.ForeignKey("orders.Order", on_delete=models.CASCADE, related_name="returns", db_index=False)
    user_id = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.REQUESTED)
    reason = models.CharField(max_length=200, blank=True, help_text="The customer's words.")
    refusal = models.CharField(max_length=200, blank=True, db_default="", help_text="Why staff refuse it.")
    tracking_number = models.CharField(max_length=64, blank=True, db_default="")
    currency = models.CharField(max_length=3)
    refund_due = models.BigIntegerField(null=True, help_text="Empty until it is inspected.")
    kept = models.BigIntegerField(db_default=0, help_text="Of what the pieces cost, by the owner's rule.")
    refunded = models.BigIntegerField(db_default=0)
    key = models.CharField(max_length=255, blank=True, db_default="", help_text="The Idempotency-Key; empty: none.")
    request_hash = models.CharField(max_length=64, blank=True, db_default="")
    approved_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    progress_at = models.DateTimeField(db_default=Now())
    look_at = models.DateTimeField(null=True)
    looks = models.PositiveIntegerField(db_default=0, help_text="Its checks since it last moved.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["order", "key"], condition=~models.Q(key=""), name="orders_return_requested_once"
            ),
            models.CheckConstraint(
                condition=models.Q(refund_due=None, refunded=0)
                | models.Q(refund_due__gte=0, kept__gte=0, refunded__gte=0, refunded__lte=models.F("refund_due")),
                name="orders_return_refunded_within_due",
            ),
        ]
        indexes = [
            models.Index(fields=["order"], name="orders_returns_of_order"),
            models.Index(fields=["user_id", "-id"], name="orders_returns_of_user"),
            models.Index(fields=["status", "-id"], name="orders_returns_in_status"),
            models.Index(fields=["look_at"], name="orders_returns_due", condition=models.Q(look_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"return {self.pk} of order {self.order_id}: {self.status}"

    @cached_property
    def lines(self) -> list["ReturnLine"]:
        """Its lines, loaded once."""
        return list(self.items.all())

    @cached_property
    def exchange_order_id(self) -> int | None:
        """The order that it is exchanged for, once there is one; read once."""
        return next((order.pk for order in self.exchanges.all()), None)


Status = Return.Status
VOID = (Status.REFUSED, Status.WITHDRAWN, Status.EXPIRED)  # whose pieces were never sent, and may be returned again
FINAL = (*VOID, Status.COMPLETED)
OPEN = tuple(status for status in Status if status not in FINAL)


class ReturnLine(models.Model):
    """Pieces of a product: how many are to come back, and what staff found of them."""

    # Found by what must be unique, which begins with it.
    of_return = models.ForeignKey(Return, on_delete=models.CASCADE, related_name="items", db_index=False)
    product_id = models.BigIntegerField()
    quantity = models.PositiveIntegerField()
    unit_price = models.BigIntegerField(help_text="What was paid for each piece.")
    exchange_product_id = models.BigIntegerField(null=True, help_text="What it is exchanged for; empty for a refund.")
    exchange_product_name = models.CharField(max_length=200, blank=True, db_default="")
    accepted = models.PositiveIntegerField(db_default=0, help_text="Paid back, and back on the shelf.")
    written_off = models.PositiveIntegerField(db_default=0, help_text="Paid back, and not to be sold again.")
    rejected = models.PositiveIntegerField(db_default=0, help_text="Not paid back.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["of_return", "product_id"], name="orders_returnline_once"),
            models.CheckConstraint(
                condition=models.Q(quantity__gt=0)
                & models.Q(quantity__gte=models.F("accepted") + models.F("written_off") + models.F("rejected")),
                name="orders_returnline_within_quantity",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × product {self.product_id}"

    @property
    def taken_back(self) -> int:
        """How many pieces are refunded, or exchanged."""
        return self.accepted + self.written_off

"""An order as its customer sees it, and how far its saga has come."""

from functools import cached_property

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from orders.changes.models import OrderChange, OrderChangeLine
from orders.returns.models import Return, ReturnLine
from orders.shipments.models import OrderShipment, ParcelNumber, ShipmentView
from sagas import models as messages
from shop import stafflog
from shop.contracts import orders as contract
from shop.contracts.reasons import ASKED_FOR

__all__ = [
    "DeadLetter", "IdempotencyKey", "Inbox", "Order", "OrderChange", "OrderChangeLine", "OrderLine", "OrderNote",
    "OrderShipment", "Outbox", "ParcelNumber", "Refund", "Return", "ReturnLine", "StaffAction", "TimelineEntry",
    "Unsent",
]  # fmt: skip


class Order(models.Model):
    """What was ordered, at which price, and where it stands.

    `progress_at` is when the saga last moved; `look_at` when the order is next checked for a lost message.
    Amounts are integers in the currency's minor unit.
    """

    class Status(models.TextChoices):
        PENDING = "PENDING"
        INVENTORY_RESERVED = "INVENTORY_RESERVED"
        PAYMENT_AUTHORIZED = "PAYMENT_AUTHORIZED"  # the money is held until the carrier has the parcel
        PAYMENT_COMPLETED = "PAYMENT_COMPLETED"
        DELIVERY_STARTED = "DELIVERY_STARTED"  # the parcel is packed, and the carrier is to fetch it
        SHIPPED = "SHIPPED"  # the carrier has it
        UNPAID = "UNPAID"  # it has arrived, and what was held of its money is not taken
        COMPLETED = "COMPLETED"
        CANCELLING = "CANCELLING"
        CANCELLED = "CANCELLED"

    class Capture(models.TextChoices):
        DUE = "DUE"
        CAPTURED = "CAPTURED"
        FAILED = "FAILED"  # for staff to see to
        WRITTEN_OFF = "WRITTEN_OFF"

    user_id = models.BigIntegerField()
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    capture = models.CharField(
        max_length=16,
        blank=True,
        choices=Capture.choices,
        default="",
        db_default="",
        help_text="Of money that is held until hand-over. Empty where it is taken at once.",
    )
    cancellation_reason = models.CharField(max_length=200, blank=True)
    currency = models.CharField(max_length=3)
    total_price = models.BigIntegerField()
    payment_gateway = models.CharField(max_length=32, blank=True, help_text="Empty for an exchange.")
    exchange_for = models.ForeignKey(
        Return,
        on_delete=models.CASCADE,
        null=True,
        related_name="exchanges",
        db_index=False,
        help_text="The return whose pieces it brings anew: it costs nothing.",
    )
    action_url = models.TextField(blank=True, db_default="", help_text="Where its customer pays, while it waits.")
    action_until = models.DateTimeField(null=True)
    tracking_number = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    progress_at = models.DateTimeField(db_default=Now())
    look_at = models.DateTimeField(
        null=True, help_text="Its next check. Empty once the order has ended and no message of it is missing."
    )
    looks = models.PositiveIntegerField(default=0, help_text="Its checks since it last moved.")
    change_id = models.UUIDField(null=True, help_text="The change that is being made, if there is one.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(exchange_for=None, total_price__gt=0)
                | models.Q(exchange_for__isnull=False, total_price=0, payment_gateway=""),
                name="orders_total_positive",
            ),
            models.UniqueConstraint(
                fields=["exchange_for"], condition=models.Q(exchange_for__isnull=False), name="orders_exchanged_once"
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "-created_at"], name="orders_of_user"),
            models.Index(fields=["-created_at"], name="orders_newest"),
            # Not on the status, nor on the tracking number: a row of which an indexed column changes is written into
            # every index again.
            models.Index(fields=["look_at"], name="orders_open", condition=models.Q(look_at__isnull=False)),
            models.Index(fields=["id"], name="orders_unpaid", condition=models.Q(capture="FAILED")),
        ]

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"

    @property
    def next_action(self) -> dict[str, object] | None:
        """What the order waits for its customer to do, if it does."""
        if not self.action_url or self.status not in BEFORE_PAYMENT or self.action_until is None:
            return None
        return {"url": self.action_url, "until": self.action_until}

    @cached_property
    def lines(self) -> list["OrderLine"]:
        """The order's lines, loaded once. Code that already has them may assign them."""
        return list(self.items.all())

    @cached_property
    def several(self) -> list[OrderShipment]:
        """Its shipments, if it has several, read once, by their numbers. May be assigned likewise."""
        return list(self.several_shipments.order_by("number"))

    @cached_property
    def shipments(self) -> list[ShipmentView]:
        """What is sent together; of an order that is sent as a whole, as soon as it has a tracking number."""
        if self.several:
            ended = self.status in FINAL  # what it has not told of by then was never sent
            sent = [one for one in self.several if not ended or one.status != OrderShipment.Status.STARTED]
            return [ShipmentView(one.number, one.status, one.tracking_number, one.lines) for one in sent]
        if not self.tracking_number:
            return []
        status = WHOLE.get(Order.Status(self.status), "STARTED")
        if self.status == Order.Status.CANCELLING and self.cancellation_reason not in ASKED_FOR:
            status = "FAILED"  # which is why the order is cancelled
        lines = [{"product_id": line.product_id, "quantity": line.quantity} for line in self.lines]
        return [ShipmentView(1, status, self.tracking_number, lines)]

    @cached_property
    def entries(self) -> list["TimelineEntry"]:
        """Its timeline, read once, oldest first. May be assigned likewise."""
        return list(self.timeline.all())


WHOLE = {  # how far the only shipment of an order is, by the order's status; not yet with the carrier otherwise
    Order.Status.SHIPPED: "SHIPPED",
    Order.Status.UNPAID: "DELIVERED",
    Order.Status.COMPLETED: "DELIVERED",
    Order.Status.CANCELLED: "FAILED",
}
BEFORE_PAYMENT = tuple(map(Order.Status, contract.BEFORE_PAYMENT))
FORWARD = tuple(map(Order.Status, contract.FORWARD))
DELIVERY_ARRANGED = tuple(map(Order.Status, contract.DELIVERY_ARRANGED))
FINAL = tuple(map(Order.Status, contract.FINAL))
UNFINISHED = tuple(status for status in Order.Status if status not in FINAL)


class OrderLine(models.Model):
    """One product of an order; name and price as they were when it was ordered."""

    # Found by what must be unique, which begins with it.
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="items", db_index=False)
    product_id = models.BigIntegerField()
    product_name = models.CharField(max_length=200)
    unit_price = models.BigIntegerField()
    quantity = models.PositiveIntegerField()

    class Meta:
        indexes = [models.Index(fields=["product_id", "-order"], name="orders_of_product")]
        constraints = [
            models.UniqueConstraint(fields=["order", "product_id"], name="orders_line_once"),
            models.CheckConstraint(condition=models.Q(quantity__gt=0, unit_price__gte=0), name="orders_line_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product_name}"

    @property
    def line_total(self) -> int:
        """In the currency's minor unit."""
        return self.unit_price * self.quantity


class TimelineEntry(models.Model):
    """Something that happened to an order: the event, the service it came from, and the status it led to."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="timeline")
    at = models.DateTimeField(db_default=Now())
    service = models.CharField(max_length=32)
    event = models.CharField(max_length=64)
    status = models.CharField(max_length=20, choices=Order.Status.choices)
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["pk"]
        verbose_name_plural = "timeline"

    def __str__(self) -> str:
        return f"{self.event} → {self.status}"


class Refund(models.Model):
    """A part of an order's money that was given back: by staff, for a return, or for a shipment that failed. Its id is
    that of the event that asks for it."""

    class Status(models.TextChoices):
        REQUESTED = "REQUESTED"
        COMPLETED = "COMPLETED"
        REFUSED = "REFUSED"

    id = models.UUIDField(primary_key=True)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="refunds", db_index=False)
    for_return = models.ForeignKey(
        Return, on_delete=models.CASCADE, null=True, related_name="refunds", help_text="That it pays back."
    )
    for_shipment = models.PositiveSmallIntegerField(null=True, help_text="Of several, which did not arrive.")
    key = models.CharField(max_length=255, help_text="The Idempotency-Key of who asked for it.")
    amount = models.BigIntegerField()
    reason = models.CharField(max_length=200)
    status = models.CharField(max_length=16, choices=Status.choices, db_default=Status.REQUESTED)
    refusal = models.CharField(max_length=200, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "key"], name="orders_refund_once"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="orders_refund_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} of order {self.order_id}: {self.status}"


class OrderNote(models.Model):
    """What staff write down about an order, for each other: no customer sees it."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="notes")
    author_id = models.BigIntegerField()
    text = models.CharField(max_length=1000)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"note on order {self.order_id}"


class IdempotencyKey(models.Model):
    """A request that has placed an order, and what it was answered, for when the request comes again.

    `user_id` is who sent it; `request_hash` tells another request with the same key.
    """

    pk = models.CompositePrimaryKey("user_id", "key")
    user_id = models.BigIntegerField()
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    order = models.OneToOneField(Order, on_delete=models.CASCADE, related_name="idempotency_key")
    status = models.PositiveSmallIntegerField()
    answer = models.TextField(help_text="The body, as JSON; text, so that its fields stay in their order.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [BrinIndex(fields=["created_at"], name="orders_key_age")]

    def __str__(self) -> str:
        return f"{self.key} of user {self.user_id}"


class Inbox(messages.Inbox):
    """Events that the steps of orders have handled."""


class Outbox(messages.Outbox):
    """What orders has told by itself, as orders placed and cancellations asked for, on its way to the broker."""


class Unsent(messages.Unsent):
    """Of that, what is not published yet."""


class DeadLetter(messages.DeadLetter):
    """Events that orders could not handle."""


class StaffAction(stafflog.StaffAction):
    """What staff changed in orders."""

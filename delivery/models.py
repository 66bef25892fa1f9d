"""Deliveries, and what the carriers tell us about them."""

from django.db import models
from django.db.models.functions import Now

from sagas import models as messages
from sagas.db.fields import TextualJSONField
from shop import stafflog


class Delivery(models.Model):
    """A parcel of an order: one row per shipment, of which an order has one per location that it comes from.

    `due_at` is when to ask the carrier next, null if not scheduled. `caused_by` is the id of the event that the
    parcel's own events follow from: that which had its delivery begin, or that which is to cancel it. If that event is
    redelivered, they are published again. `account` is the carrier account that we ask, `carrier` its name as customers
    know it.
    `number` counts an order's shipments from 1, `parts` is how many there are. `lines` are what is in it, null where an
    order has only one. `end_announced`, of one of several, is whether an event has told of its end.
    `held_for` is the change of the order during which the parcel stays here, `let_go` the last one that has ended.
    """

    class Status(models.TextChoices):
        BOOKING = "BOOKING"  # a carrier is to be asked to fetch it, or was, and has not answered
        PREPARING = "PREPARING"  # booked: it has a number, and waits for the carrier
        IN_TRANSIT = "IN_TRANSIT"  # with the carrier: it cannot be cancelled any more
        RECALLING = "RECALLING"  # likewise; it is not paid, and the carrier is to be asked whether it can still stop it
        DELIVERED = "DELIVERED"
        FAILED = "FAILED"  # the carrier or the recipient refused it
        HELD = "HELD"  # not to leave while its order is changed; or a placeholder for a delivery not started yet
        EMPTY = "EMPTY"  # one of several: all that was to be in it was cancelled
        CANCELLING = "CANCELLING"  # it is not to leave; the carrier is to be asked, or was, and has not answered
        CANCELLED = "CANCELLED"  # also before it was ever started: a tombstone

    order_id = models.BigIntegerField()
    number = models.PositiveSmallIntegerField(db_default=1, help_text="Of the order's shipments, from 1.")
    parts = models.PositiveSmallIntegerField(db_default=1, help_text="How many shipments the order has.")
    location = models.CharField(max_length=16, blank=True, db_default="", help_text="From where, if from several.")
    lines = TextualJSONField(null=True, help_text="What is in it, if the order comes from several locations.")
    end_announced = models.BooleanField(
        db_default=False, help_text="Of one of several: whether its end has been announced."
    )
    user_id = models.BigIntegerField(null=True, help_text="Empty for a tombstone.")
    tracking_number = models.CharField(  # noqa: DJ001
        max_length=64, null=True, help_text="The carrier's. Empty while it is not booked, and for a tombstone."
    )
    unpaid = models.BooleanField(db_default=False, help_text="Its money is only held, until it is handed over.")
    account = models.CharField(max_length=32, blank=True, help_text="The carrier that is asked about it.")
    key = models.CharField(
        max_length=64, blank=True, help_text="Its booking, as we call it at whichever carrier. Empty for a tombstone."
    )
    carrier = models.CharField(max_length=32, blank=True)
    address = models.TextField(blank=True)
    status = models.CharField(max_length=16, choices=Status.choices)
    reason = models.CharField(max_length=200, blank=True)
    reference = models.CharField(max_length=64, blank=True, help_text="The booking, as the carrier calls it.")
    label_url = models.CharField(max_length=500, blank=True, help_text="What to print and stick on it.")
    attempts = models.PositiveSmallIntegerField(db_default=0, help_text="Questions in a row without an answer.")
    due_at = models.DateTimeField(null=True)
    held_for = TextualJSONField(null=True, help_text="The change during which no carrier gets it.")
    let_go = models.UUIDField(null=True, help_text="The last change that has ended.")
    changed = TextualJSONField(null=True, help_text="What it left in each shipment, if the delivery had not started.")
    caused_by = models.UUIDField(null=True)
    trace = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    handed_over_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    disputed_by = models.CharField(
        max_length=16,
        blank=True,
        choices=Status.choices,
        db_default="",
        help_text="What the carrier said after the end, against it. Staff see to it and settle it.",
    )

    class Meta:
        verbose_name_plural = "deliveries"
        permissions = (("view_address", "Can see addresses"),)
        constraints = [
            models.UniqueConstraint(fields=["order_id", "number"], name="delivery_shipment_once"),
            models.UniqueConstraint(fields=["tracking_number", "account"], name="delivery_tracked_once"),
            models.CheckConstraint(
                condition=models.Q(due_at__isnull=False, status__in=["BOOKING", "CANCELLING", "RECALLING"])
                | models.Q(status__in=["PREPARING", "IN_TRANSIT"])  # the carrier is asked, or tells
                | models.Q(due_at=None, status__in=["HELD", "EMPTY", "DELIVERED", "FAILED", "CANCELLED"]),
                name="delivery_moves_until_its_end",
            ),
            models.CheckConstraint(
                condition=models.Q(tracking_number__isnull=False, user_id__isnull=False)
                | models.Q(
                    user_id__isnull=False,
                    status__in=["BOOKING", "HELD", "EMPTY", "CANCELLING", "CANCELLED", "FAILED"],
                )
                | models.Q(user_id=None, tracking_number=None, status__in=["HELD", "CANCELLED"]),
                name="delivery_can_be_tracked",
            ),
            models.CheckConstraint(
                condition=models.Q(handed_over_at__isnull=False)
                | ~models.Q(status__in=["IN_TRANSIT", "RECALLING", "DELIVERED"]),
                name="delivery_handed_over_before_it_moves",
            ),
            models.CheckConstraint(
                condition=models.Q(held_for__isnull=True) | models.Q(status__in=["HELD", "CANCELLING"]),
                name="delivery_held_stays_here",
            ),
            models.CheckConstraint(
                condition=models.Q(held_for__isnull=False) | models.Q(user_id=None) | ~models.Q(status="HELD"),
                name="delivery_held_for_a_change",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "-id"], name="delivery_of_user"),
            models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["created_at"], name="delivery_with_address", condition=~models.Q(address="")),
            models.Index(fields=["id"], name="delivery_disputed", condition=~models.Q(disputed_by="")),
        ]

    def __str__(self) -> str:
        return f"delivery of order {self.order_id}: {self.status}"


class ReturnParcel(models.Model):
    """A parcel that a customer sends back: one row per return.

    `due_at` is when a carrier that answers by itself is asked where it is. `caused_by` is the event that the parcel's
    own events follow from.
    """

    class Status(models.TextChoices):
        EXPECTED = "EXPECTED"
        RECEIVED = "RECEIVED"  # also before it was ever booked, when staff were faster (a tombstone)
        LOST = "LOST"  # its carrier says that it will not come
        CANCELLED = "CANCELLED"  # nobody expects it; also before it was ever booked (a tombstone)

    return_id = models.BigIntegerField(unique=True)
    order_id = models.BigIntegerField(db_index=True)
    tracking_number = models.CharField(max_length=64, null=True)  # noqa: DJ001
    account = models.CharField(max_length=32, blank=True, help_text="The carrier; empty: the customer sends it.")
    status = models.CharField(max_length=16, choices=Status.choices)
    reason = models.CharField(max_length=200, blank=True, db_default="", help_text="The carrier's words.")
    due_at = models.DateTimeField(null=True)
    caused_by = models.UUIDField(null=True)
    trace = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tracking_number", "account"], name="delivery_return_tracked_once"),
            models.CheckConstraint(
                condition=models.Q(due_at=None) | models.Q(status="EXPECTED"),
                name="delivery_return_asked_while_expected",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="delivery_returns_due", condition=models.Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"parcel of return {self.return_id}: {self.status}"


class CarrierEvent(models.Model):
    """A carrier's message that was taken in: it is not taken in again. Each carrier counts its own."""

    carrier = models.CharField(max_length=32, default="")
    event_id = models.CharField(max_length=64)
    tracking_number = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=Delivery.Status.choices)
    reason = models.CharField(max_length=200, blank=True)
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["carrier", "event_id"], name="delivery_carrier_event_once")]

    def __str__(self) -> str:
        return f"{self.tracking_number}: {self.status}"


class Inbox(messages.Inbox):
    """Events that delivery's steps have handled."""


class Outbox(messages.Outbox):
    """What became of parcels, by the timer or by the carrier's word, on its way to the broker."""


class Unsent(messages.Unsent):
    """Of delivery's outbox, what is not published yet."""


class DeadLetter(messages.DeadLetter):
    """Events that delivery could not handle."""


class StaffAction(stafflog.StaffAction):
    """What staff changed in delivery."""

"""Stock, where it lies, and the part of it that is reserved.

A stock item is a product at a location. `on_hand` is what lies on the shelf there, `reserved` the part of it that is
promised to orders; the difference can be sold.
The CHECK constraint is the guard: no code path, however wrong, can oversell.
"""

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Now

from sagas import models as messages
from shop import stafflog

LOW_BELOW = 10  # units, unless a stock item has a threshold of its own


class Location(models.Model):
    """A place where stock lies. It is never deleted: movements name it."""

    code = models.CharField(
        max_length=16,
        primary_key=True,
        validators=[RegexValidator(r"^[A-Z0-9][A-Z0-9_-]*\Z", "Capital letters, digits, - and _.")],
        help_text="How files and the API call it: capital letters, digits, - and _. It stays as it is.",
    )
    name = models.CharField(max_length=100)
    priority = models.PositiveSmallIntegerField(
        default=100,
        help_text="Of locations that have the goods, the one with the lowest number comes first.",
    )

    class Meta:
        ordering = ["priority", "code"]

    def __str__(self) -> str:
        return self.code


class StockItem(models.Model):
    """The stock of one product at one location, in units."""

    product_id = models.BigIntegerField(validators=[MinValueValidator(1)])
    location = models.ForeignKey(Location, on_delete=models.PROTECT, db_index=False)
    on_hand = models.IntegerField(default=0)
    reserved = models.IntegerField(default=0)
    low_below = models.PositiveIntegerField(
        "low below", db_default=LOW_BELOW, help_text="Stock is low when fewer pieces can be sold. 0: it never is."
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "stock item"
        constraints = [
            models.UniqueConstraint(
                fields=["product_id", "location"],
                name="inventory_stock_once_per_location",
                violation_error_message="There is a stock record of this product at this location already.",
            ),
            models.CheckConstraint(
                condition=models.Q(reserved__gte=0, reserved__lte=models.F("on_hand")),
                name="inventory_stock_never_oversold",
                violation_error_message="0 ≤ reserved ≤ on hand must hold.",
            ),
        ]

    def __str__(self) -> str:
        return f"product {self.product_id} at {self.location_id}: {self.on_hand} on hand, {self.reserved} reserved"

    @property
    def available(self) -> int:
        """Units that can be sold now."""
        return self.on_hand - self.reserved


class Reservation(models.Model):
    """What was decided about an order's stock: one row per order, all its pieces or none, from wherever they come."""

    class Status(models.TextChoices):
        RESERVED = "RESERVED"  # set aside
        REFUSED = "REFUSED"  # not enough: nothing was set aside
        SHIPPED = "SHIPPED"  # left the shelf with the carrier
        RELEASED = "RELEASED"  # given back, or released before it was ever reserved (a tombstone without lines)
        RETURNED = "RETURNED"  # came back after it had left the shelf

    order_id = models.BigIntegerField(unique=True)
    status = models.CharField(max_length=16, choices=Status.choices)
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"order {self.order_id}: {self.status}"


class ReservationLine(models.Model):
    """The quantity of one product in a reservation, from one location."""

    # Needs no index of its own: the unique constraint begins with this column.
    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="lines", db_index=False)
    shipment = models.PositiveSmallIntegerField(
        db_default=0, help_text="Which of the order's shipments it is in. 0: the order has only one."
    )
    status = models.CharField(
        max_length=16,
        choices=Reservation.Status.choices,
        blank=True,
        db_default="",
        help_text="Of a line in one of several shipments, as soon as it differs from the reservation's.",
    )
    product_id = models.BigIntegerField()
    # Without a constraint, which would lock the location's row for each line; the stock item has one.
    location = models.ForeignKey(Location, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    quantity = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["reservation", "product_id", "location"], name="inventory_reservation_line_once"
            ),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="inventory_reservation_line_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × product {self.product_id} from {self.location_id}"


class StockMovement(models.Model):
    """A change of `on_hand`, with its reason. The sum of a product's movements at a location is its `on_hand` there."""

    class Kind(models.TextChoices):
        ADJUSTMENT = "ADJUSTMENT"  # receipts, stock-taking, loss: by staff
        SHIPMENT = "SHIPMENT"
        RETURN = "RETURN"
        WRITE_OFF = "WRITE_OFF"  # of what came back, and cannot be sold again

    product_id = models.BigIntegerField(db_index=True)
    location = models.ForeignKey(Location, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    delta = models.IntegerField(help_text="Pieces: positive came, negative went.")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    order_id = models.BigIntegerField(null=True)  # indexed by the unique constraint, which begins with it
    return_id = models.BigIntegerField(null=True, help_text="What a customer sent back; empty: the parcel came back.")
    reason = models.CharField(max_length=200, blank=True)
    booking = models.UUIDField(null=True, help_text="Of the form it was booked with: one sent twice books once.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~models.Q(delta=0), name="inventory_movement_moves"),
            models.UniqueConstraint(
                fields=["booking"], condition=models.Q(booking__isnull=False), name="inventory_movement_booked_once"
            ),
            models.UniqueConstraint(
                fields=["order_id", "product_id", "location", "kind", "return_id"],
                condition=models.Q(order_id__isnull=False),
                nulls_distinct=False,
                name="inventory_movement_once_per_order",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.delta:+d} of product {self.product_id} at {self.location_id} ({self.kind.lower()})"


class Inbox(messages.Inbox):
    """Events that inventory's steps have handled."""


class Outbox(messages.Outbox):
    """Events that inventory emits of its own accord (none today; the table is every service's)."""


class Unsent(messages.Unsent):
    """The events in inventory's outbox that are not published yet."""


class DeadLetter(messages.DeadLetter):
    """Events that inventory could not handle."""


class StaffAction(stafflog.StaffAction):
    """What staff changed in inventory."""

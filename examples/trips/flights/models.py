"""Flights and their seats."""

from django.db import models

from sagas import models as messages


class Flight(models.Model):
    """A flight. The constraint is the guard: no code, however wrong, can overbook it."""

    number = models.CharField(max_length=32, primary_key=True)
    free = models.IntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(free__gte=0), name="flights_never_overbooked")]

    def __str__(self) -> str:
        return f"{self.number}: {self.free} seats"


class Seat(models.Model):
    """What was decided about a trip's seat: one row per trip, and whoever writes it first has decided."""

    class Status(models.TextChoices):
        BOOKED = "BOOKED"
        REFUSED = "REFUSED"
        CANCELLED = "CANCELLED"  # given back, or cancelled before it was ever booked

    trip_id = models.BigIntegerField(unique=True)
    flight = models.ForeignKey(Flight, models.PROTECT, null=True)
    status = models.CharField(max_length=16, choices=Status.choices)

    def __str__(self) -> str:
        return f"trip {self.trip_id}: {self.status}"


# The tables of messages, which every service has in its own database.
class Inbox(messages.Inbox):
    pass


class Outbox(messages.Outbox):
    pass


class Unsent(messages.Unsent):
    pass


class DeadLetter(messages.DeadLetter):
    pass

"""Hotels and their rooms."""

from django.db import models

from sagas import models as messages


class Hotel(models.Model):
    """A hotel. The constraint is the guard: no code, however wrong, can overbook it."""

    name = models.CharField(max_length=32, primary_key=True)
    free = models.IntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(free__gte=0), name="hotels_never_overbooked")]

    def __str__(self) -> str:
        return f"{self.name}: {self.free} rooms"


class Room(models.Model):
    """What was decided about a trip's room: one row per trip, and whoever writes it first has decided."""

    class Status(models.TextChoices):
        BOOKED = "BOOKED"
        REFUSED = "REFUSED"
        CANCELLED = "CANCELLED"  # given back, or cancelled before it was ever booked

    trip_id = models.BigIntegerField(unique=True)
    hotel = models.ForeignKey(Hotel, models.PROTECT, null=True)
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

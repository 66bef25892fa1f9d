"""Trips, as their customers see them."""

from django.db import models

from sagas import models as messages


class Trip(models.Model):
    """What a customer asked for, and how far it has come."""

    class Status(models.TextChoices):
        REQUESTED = "REQUESTED"
        CONFIRMED = "CONFIRMED"
        CANCELLING = "CANCELLING"
        CANCELLED = "CANCELLED"

    flight = models.CharField(max_length=32)
    hotel = models.CharField(max_length=32)
    car = models.CharField(max_length=32)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.REQUESTED)
    touched_at = models.DateTimeField(help_text="When it last came on, or was last resumed.")

    def __str__(self) -> str:
        return f"trip {self.pk}: {self.status}"


# The tables of messages, which every service has in its own database.
class Inbox(messages.Inbox):
    pass


class Outbox(messages.Outbox):
    pass


class Unsent(messages.Unsent):
    pass


class DeadLetter(messages.DeadLetter):
    pass

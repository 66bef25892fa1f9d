"""Cars, which belong to somebody else."""

from django.db import models

from sagas import models as messages


class Rental(models.Model):
    """What was decided about a trip's car."""

    class Status(models.TextChoices):
        RENTED = "RENTED"
        REFUSED = "REFUSED"
        CANCELLED = "CANCELLED"

    trip_id = models.BigIntegerField(unique=True)
    status = models.CharField(max_length=16, choices=Status.choices)

    def __str__(self) -> str:
        return f"trip {self.trip_id}: {self.status}"


class CompanyRental(models.Model):
    """The rental company's own book, which `cars.company` alone reads: in real life it is not here."""

    trip_id = models.BigIntegerField(unique=True)
    car = models.CharField(max_length=32)
    is_cancelled = models.BooleanField()


# The tables of messages, which every service has in its own database.
class Inbox(messages.Inbox):
    pass


class Outbox(messages.Outbox):
    pass


class Unsent(messages.Unsent):
    pass


class DeadLetter(messages.DeadLetter):
    pass

"""The tables of the four steps: an inbox, and a table of effects for each step."""

from django.db import models
from django.db.models.functions import Now


class Order(models.Model):
    """An order. All fields except the time are for `benchmarks/endtoend`."""

    created_at = models.DateTimeField(db_default=Now())
    product_id = models.BigIntegerField(default=1)
    quantity = models.PositiveIntegerField(default=1)
    address = models.CharField(max_length=200, default="")
    email = models.EmailField(default="")


class Inbox(models.Model):
    """Which step has handled which order, so that a redelivered message has no effect twice."""

    step = models.CharField(max_length=32)
    order_id = models.BigIntegerField()
    handled_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["step", "order_id"], name="plain_inbox_once")]


class Effect(models.Model):
    order_id = models.BigIntegerField(unique=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True


class Reservation(Effect):
    pass


class Payment(Effect):
    pass


class Delivery(Effect):
    pass


class Completion(Effect):
    pass

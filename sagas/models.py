"""The tables of messages that every service has: what came in, what goes out, what could not be handled.

Abstract: `inventory.Inbox`, `inventory.Outbox` and so on are concrete tables in inventory's own database, so that a
message's effect and its record commit together. `correlation_id` is the value of the saga's key.
"""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from sagas.db.fields import TextualJSONField


def _index(name: str, field: str, only: models.Q | None = None) -> models.Index:
    """An index of one field in each service's table, of the rows that meet a condition."""
    return models.Index(fields=[field], name=f"%(app_label)s_{name}", condition=only)


class Inbox(models.Model):
    """An event that a step has handled, and what the step emitted for it.

    The row is written in the effect's transaction. It makes the effect happen once, and it is the step's outbox: when
    the event is redelivered, the events stored here are published again. `deferred_until` is when the relay may deliver
    them to deferrable steps; empty when nothing is deferred. `repeats` counts redeliveries.
    """

    pk = models.CompositePrimaryKey("event_id", "step")
    step = models.CharField(max_length=64)
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=64)
    correlation_id = models.BigIntegerField()
    emitted = TextualJSONField(default=list)
    handled_at = models.DateTimeField(db_default=Now())
    repeats = models.PositiveSmallIntegerField(db_default=0)
    deferred_until = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        indexes = [
            _index("inbox_deferred", "deferred_until", only=models.Q(deferred_until__isnull=False)),
            _index("inbox_key", "correlation_id"),
            BrinIndex(fields=["handled_at"], name="%(app_label)s_inbox_age"),
        ]


class Outbox(models.Model):
    """An event that no message led to: a request, a cancellation, a timer's work.

    Written in the transaction of its cause, together with its `Unsent`, and not touched again.
    """

    event_id = models.UUIDField(unique=True)
    event_type = models.CharField(max_length=64)
    correlation_id = models.BigIntegerField()
    caused_by = models.UUIDField(null=True)
    payload = TextualJSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True
        verbose_name_plural = "outbox"
        indexes = [
            _index("outbox_key", "correlation_id"),
            _index("outbox_cause", "caused_by", only=models.Q(caused_by__isnull=False)),
            BrinIndex(fields=["created_at"], name="%(app_label)s_outbox_age"),
        ]


class Unsent(models.Model):
    """An event of the outbox that is to be published, for the first time or again. The relay deletes it afterwards.

    A table of its own, because a mark on the event's row would cost a new row version with an entry in each index.
    `leased_until` keeps two relays from publishing the same event at once; publishing twice would be harmless, only
    wasteful. With a `deferred_until`, only delivery to deferrable steps is left.
    """

    outbox = models.OneToOneField("Outbox", models.CASCADE, primary_key=True)
    leased_until = models.DateTimeField(null=True)
    deferred_until = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        verbose_name_plural = "unsent"
        indexes = [_index("unsent_deferred", "deferred_until", only=models.Q(deferred_until__isnull=False))]


class DeadLetter(models.Model):
    """An event that a step could not handle. It is resolved when the step succeeds with it after all."""

    class Resolution(models.TextChoices):
        HANDLED = "HANDLED"
        DISCARDED = "DISCARDED"

    step = models.CharField(max_length=64)
    event_id = models.UUIDField(null=True, help_text="Empty when not even the id could be read.")
    event_type = models.CharField(max_length=64, blank=True)
    correlation_id = models.BigIntegerField(null=True)
    payload = models.TextField(help_text="The event as it arrived, as JSON; text, for what PostgreSQL's JSON refuses.")
    error = models.TextField()
    traceback = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=16, choices=Resolution.choices, blank=True)

    class Meta:
        abstract = True
        constraints = [models.UniqueConstraint(fields=["event_id", "step"], name="%(app_label)s_deadletter_once")]
        indexes = [_index("deadletter_open", "event_id", only=models.Q(resolved_at=None))]

    def __str__(self) -> str:
        return f"{self.event_type or 'undecodable event'} at {self.step}"

"""Where other programs want to be told, and what each of them was told."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.db import models
from django.db.models.functions import Now


class Webhook(models.Model):
    """A subscription: what is POSTed to `url`.

    `free_at` is when a sender may take it up next: while one has it that is the end of a lease, after a failure of the
    pause. `slow` ones share some of the senders among themselves, so that the others never wait for them.
    """

    owner_id = models.BigIntegerField(db_index=True, help_text="The user, or a program's.")
    url = models.CharField(max_length=500)
    events = ArrayField(models.CharField(max_length=32))
    description = models.CharField(max_length=200, blank=True)
    secret = models.TextField(help_text="Encrypted.")
    former_secret = models.TextField(blank=True, help_text="Encrypted; signs as well until `former_until`.")
    former_until = models.DateTimeField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Since it last took a message.")
    failing_since = models.DateTimeField(null=True, blank=True)
    slow = models.BooleanField(default=True, help_text="Until it has answered quickly.")
    free_at = models.DateTimeField(db_default=Now())
    served_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [GinIndex(fields=["events"], name="notifications_webhook_events")]

    def __str__(self) -> str:
        return f"webhook {self.pk}"


class WebhookMessage(models.Model):
    """One event for one subscription, with the body that is sent, byte for byte, each time."""

    class Status(models.TextChoices):
        PENDING = "PENDING"  # sent when `due_at` comes, for the first time or again
        SENT = "SENT"
        FAILED = "FAILED"  # given up after all attempts; may be replayed

    # Without a constraint: what happens must not fail because somebody deletes their webhook at that moment.
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="messages", db_index=False, db_constraint=False
    )
    event_id = models.UUIDField()
    type = models.CharField(max_length=32)
    order_id = models.BigIntegerField(null=True, blank=True, db_index=True)
    body = models.TextField(help_text="JSON.")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    answer = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The last HTTP status.")
    error = models.CharField(max_length=200, blank=True, help_text="Why the latest attempt failed.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["webhook", "event_id"], name="notifications_webhook_once")]
        indexes = [
            models.Index(
                fields=["webhook", "due_at"], name="notifications_webhook_due", condition=models.Q(status="PENDING")
            ),
            models.Index(fields=["webhook", "-id"], name="notifications_of_webhook"),
            BrinIndex(fields=["created_at"], name="notifications_webhook_age"),
        ]

    def __str__(self) -> str:
        return f"{self.type} for webhook {self.webhook_id}"

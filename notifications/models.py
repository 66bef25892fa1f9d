"""What customers are told, and whether it has reached the mail server or the SMS provider."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from notifications.webhooks.models import Webhook, WebhookMessage
from sagas import models as messages
from shop import stafflog
from shop.text import Line, Lines

__all__ = [
    "DeadLetter", "Inbox", "MessageTemplate", "Notification", "OptOut", "Outbox", "StaffAction", "Suppression",
    "Unsent", "Webhook", "WebhookMessage",
]  # fmt: skip


class Notification(models.Model):
    """One message to one customer about one event, by one channel.

    Recipient and text are written down when the event is heard, so that what is sent again is what was sent before.
    They are personal data: `purge` deletes old rows, and nothing of them is ever logged.
    """

    class Type(models.TextChoices):
        ORDER_RECEIVED = "ORDER_RECEIVED"
        PAYMENT_DUE = "PAYMENT_DUE"
        ORDER_CHANGED = "ORDER_CHANGED"
        ADDRESS_CHANGED = "ADDRESS_CHANGED"
        CHANGE_REFUSED = "CHANGE_REFUSED"
        SHIPPED = "SHIPPED"
        DELIVERED = "DELIVERED"
        COMPLETED = "COMPLETED"
        CANCELLED = "CANCELLED"
        DELIVERY_FAILED = "DELIVERY_FAILED"
        SHIPMENT_FAILED = "SHIPMENT_FAILED"
        REFUNDED = "REFUNDED"
        RETURN_APPROVED = "RETURN_APPROVED"
        RETURN_RECEIVED = "RETURN_RECEIVED"
        RETURN_EXCHANGED = "RETURN_EXCHANGED"
        RETURN_REFUNDED = "RETURN_REFUNDED"
        RETURN_REFUSED = "RETURN_REFUSED"
        RETURN_CLOSED = "RETURN_CLOSED"

    class Channel(models.TextChoices):
        EMAIL = "EMAIL"
        SMS = "SMS", "SMS"

    class Status(models.TextChoices):
        PENDING = "PENDING"  # sent when `due_at` comes, for the first time or again
        SENT = "SENT"
        SUPPRESSED = "SUPPRESSED"  # never sent; `error` says why
        FAILED = "FAILED"  # given up after MAX_ATTEMPTS; staff may send it again

    event_id = models.UUIDField()
    order_id = models.BigIntegerField(db_index=True)
    user_id = models.BigIntegerField()
    type = models.CharField(max_length=16, choices=Type.choices)
    channel = models.CharField(max_length=8, choices=Channel.choices)
    recipient = models.CharField(max_length=254, help_text="E-mail address or phone number.")
    subject = models.CharField(max_length=200, blank=True, help_text="Empty for an SMS.")
    body = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Why the latest attempt failed, or why there is none.")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        permissions = (("view_recipient", "Can see recipients"),)
        constraints = [models.UniqueConstraint(fields=["event_id", "channel"], name="notifications_once")]
        indexes = [
            models.Index(fields=["due_at"], name="notifications_due", condition=models.Q(status="PENDING")),
            models.Index(fields=["user_id", "-id"], name="notifications_user"),
            models.Index(
                fields=["recipient", "sent_at"], name="notifications_recent", condition=models.Q(status="SENT")
            ),
            BrinIndex(fields=["created_at"], name="notifications_age"),
        ]

    def __str__(self) -> str:
        return f"{self.type} of order {self.order_id} by {self.channel}"

    @property
    def reference(self) -> str:
        """The same whenever this notification is sent, so that a duplicate can be recognised."""
        return f"{self.event_id}.{self.channel.lower()}"


class MessageTemplate(models.Model):
    """What customers read instead of the shop's own text, once it is in use."""

    class Kind(models.TextChoices):
        ORDER_RECEIVED = "ORDER_RECEIVED"
        PAYMENT_DUE = "PAYMENT_DUE"
        ORDER_CHANGED = "ORDER_CHANGED"
        ADDRESS_CHANGED = "ADDRESS_CHANGED"
        CHANGE_REFUSED = "CHANGE_REFUSED"
        SHIPPED = "SHIPPED"
        DELIVERED = "DELIVERED"
        COMPLETED = "COMPLETED"
        CANCELLED = "CANCELLED"
        DELIVERY_FAILED = "DELIVERY_FAILED"
        SHIPMENT_FAILED = "SHIPMENT_FAILED"
        REFUNDED = "REFUNDED"
        RETURN_APPROVED = "RETURN_APPROVED"
        RETURN_RECEIVED = "RETURN_RECEIVED"
        RETURN_EXCHANGED = "RETURN_EXCHANGED"
        RETURN_REFUNDED = "RETURN_REFUNDED"
        RETURN_REFUSED = "RETURN_REFUSED"
        RETURN_CLOSED = "RETURN_CLOSED"
        VERIFY = "VERIFY", "Confirm the e-mail address"
        RESET = "RESET", "Set another password"

    class Language(models.TextChoices):
        KO = "ko", "한국어"
        EN = "en", "English"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    channel = models.CharField(max_length=8, choices=Notification.Channel.choices)
    language = models.CharField(max_length=2, choices=Language.choices)
    subject = Line(max_length=120, blank=True, help_text="Empty for an SMS.")
    body = Lines()
    in_use = models.BooleanField(default=False, help_text="Otherwise the shop's own text is sent.")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "channel", "language"], name="notifications_template_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.channel} in {self.language}"


class OptOut(models.Model):
    """What a customer does not want to be told by a channel."""

    user_id = models.BigIntegerField()
    type = models.CharField(max_length=16, choices=Notification.Type.choices)
    channel = models.CharField(max_length=8, choices=Notification.Channel.choices)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user_id", "type", "channel"], name="notifications_opt_out_once")
        ]

    def __str__(self) -> str:
        return f"no {self.type} by {self.channel} for user {self.user_id}"


class Suppression(models.Model):
    """An address that nothing is sent to any more. It is known again by its hash, and cannot be read here."""

    class Reason(models.TextChoices):
        BOUNCED = "BOUNCED"  # there is no such mailbox
        COMPLAINED = "COMPLAINED"  # its owner says that what we send is spam

    channel = models.CharField(max_length=8, choices=Notification.Channel.choices)
    address_hash = models.CharField(max_length=64, help_text="SHA-256, hexadecimal.")
    user_id = models.BigIntegerField(
        null=True, blank=True, db_index=True, help_text="Whose it was then, if they had been told of an order."
    )
    reason = models.CharField(max_length=10, choices=Reason.choices)
    detail = models.CharField(max_length=500, blank=True, help_text="In the provider's words, without the address.")
    since = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel", "address_hash"], name="notifications_suppression_once")
        ]

    def __str__(self) -> str:
        return f"suppression {self.pk}"


class Inbox(messages.Inbox):
    """Events that customers have been told of, or need not be."""


class Outbox(messages.Outbox):
    """Events that notifications emits of its own accord (none: it only listens; the table is every service's)."""


class Unsent(messages.Unsent):
    """Of notifications' outbox, what is not published yet."""


class DeadLetter(messages.DeadLetter):
    """Events that notifications could not handle."""


class StaffAction(stafflog.StaffAction):
    """What staff changed in notifications."""

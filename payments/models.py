"""Payments, what the gateways said about them, and the sandbox gateways' own books."""

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now

from payments.reconciliation.models import Reconciliation, ReconciliationDifference, StatementEntry
from sagas import models as messages
from sagas.db.fields import TextualJSONField
from shop import stafflog
from shop.contracts.payments import GATEWAYS
from shop.money import money

__all__ = [
    "DeadLetter", "GatewayLedger", "GatewayNotification", "Inbox", "Outbox", "Payment", "PaymentAttempt",
    "PaymentOperation", "Reconciliation", "ReconciliationDifference", "SandboxPage", "SandboxRequest",
    "SandboxSwitch", "StaffAction", "StatementEntry", "Unsent",
]  # fmt: skip


class Payment(models.Model):
    """An order's payment: one row per order, written before a gateway is asked.

    due_at         When the timer asks the gateway next. Null while nothing is to be asked. Also null until the first
                   answer is recorded: until then redelivery of the message retries the charge.
    checkout       Kept for the events that the timer may have to emit.
    caused_by      The event that is being answered. When it is redelivered, what the timer emitted is emitted again.
    capture_later  Money is held first, and captured when the carrier has the parcel (PAYMENT_CAPTURE). Stored with the
                   payment, because the setting may change while money is held.
    authorized, captured, refunded
                   The sums of its operations that have succeeded.

    Amounts are integers in the currency's minor unit.
    """

    class Status(models.TextChoices):
        PENDING = "PENDING"  # to be charged; a gateway may have been asked
        WAITING = "WAITING"  # its customer has to do something, until `action_until`
        AUTHORIZED = "AUTHORIZED"  # held: it is taken when the carrier has the parcel
        CAPTURING = "CAPTURING"  # being taken
        UNPAID = "UNPAID"  # it cannot be taken any more: for staff to see to
        WRITTEN_OFF = "WRITTEN_OFF"  # staff have given it up
        COMPLETED = "COMPLETED"  # taken
        FAILED = "FAILED"  # declined: nothing was taken
        REFUNDING = "REFUNDING"  # to be undone; the gateway holds money, or may
        REFUNDED = "REFUNDED"  # charged and given back
        VOIDED = "VOIDED"  # undone before anything was charged, or before it was asked for (a tombstone)

    order_id = models.BigIntegerField(unique=True)
    idempotency_key = models.CharField(
        max_length=64, help_text="Its name at its gateway, made once: the same however often the gateway is asked."
    )
    user_id = models.BigIntegerField(null=True, help_text="Empty for a tombstone.")
    amount = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3, blank=True)
    gateway = models.CharField(
        max_length=32, blank=True, help_text="Empty for a tombstone, and for what costs nothing: no gateway is asked."
    )
    capture_later = models.BooleanField(db_default=False, help_text="Held first, and taken at hand-over.")
    reference = models.CharField(max_length=128, blank=True, help_text="The payment, as its gateway calls it.")
    authorized = models.BigIntegerField(db_default=0)
    captured = models.BigIntegerField(db_default=0)
    refunded = models.BigIntegerField(db_default=0)
    action_url = models.TextField(blank=True, db_default="", help_text="Where its customer pays.")
    action_until = models.DateTimeField(null=True)
    action_details = TextualJSONField(null=True, help_text="What the customer needs for a deposit.")
    returned_with = TextualJSONField(null=True, help_text="The query with which its customer came back.")
    token = models.TextField(blank=True, help_text="Sealed, and empty when there is nothing more to charge.")
    checkout = TextualJSONField(null=True, help_text="What PaymentCompleted or PaymentAuthorized carries on.")
    status = models.CharField(max_length=16, choices=Status.choices)
    reason = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Unanswered questions since the status last changed.")
    due_at = models.DateTimeField(null=True)
    caused_by = models.UUIDField(null=True)
    trace = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    refunded_at = models.DateTimeField(null=True)

    rows: "list[PaymentOperation]"  # its operations, once `ledger.load` has read them

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount__gt=0) | models.Q(amount=0, gateway="", status__in=["COMPLETED", "VOIDED"]),
                name="payments_amount_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(authorized__gte=0, authorized__lte=models.F("amount")),
                name="payments_authorized_within_amount",
            ),
            models.CheckConstraint(
                condition=models.Q(captured__gte=0, captured__lte=models.F("authorized")),
                name="payments_captured_within_authorized",
            ),
            models.CheckConstraint(
                condition=models.Q(refunded__gte=0, refunded__lte=models.F("captured")),
                name="payments_refunded_within_captured",
            ),
            models.CheckConstraint(
                condition=models.Q(due_at=None) | ~models.Q(status__in=["REFUNDED", "UNPAID", "WRITTEN_OFF"]),
                name="payments_settled_asks_nothing",
            ),
            models.CheckConstraint(
                condition=models.Q(due_at__isnull=False)
                | ~models.Q(status__in=["REFUNDING", "WAITING", "AUTHORIZED", "CAPTURING"]),
                name="payments_refunding_is_asked_again",
            ),
            models.CheckConstraint(
                condition=models.Q(due_at=None)
                | ~models.Q(status__in=["PENDING", "WAITING"])
                | models.Q(checkout__isnull=False),
                name="payments_asked_again_can_go_on",
            ),
            models.CheckConstraint(
                condition=models.Q(capture_later=True, authorized__gt=0, captured=0)
                | ~models.Q(status__in=["AUTHORIZED", "CAPTURING", "UNPAID", "WRITTEN_OFF"]),
                name="payments_held_is_not_taken",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "-id"], name="payments_of_user"),
            models.Index(fields=["due_at"], name="payments_due", condition=models.Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"payment of order {self.order_id}: {self.status}"


class PaymentOperation(models.Model):
    """An entry in our ledger: what a gateway is to do with a payment's money. Written before the gateway is asked.

    A CHARGE is an AUTHORIZE and its CAPTURE in one. A RELEASE is a part of the held money that will not be captured; no
    gateway is asked for it. A key is always sent with the same amount.
    """

    class Kind(models.TextChoices):
        AUTHORIZE = "AUTHORIZE"
        CHARGE = "CHARGE"
        CAPTURE = "CAPTURE"
        RELEASE = "RELEASE"
        VOID = "VOID"
        REFUND = "REFUND"

    class Outcome(models.TextChoices):
        OPEN = "OPEN"  # asked, or about to be
        SUCCEEDED = "SUCCEEDED"
        REFUSED = "REFUSED"

    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="operations", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    key = models.CharField(max_length=80, help_text="The same however often the gateway is asked for it.")
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    outcome = models.CharField(max_length=16, choices=Outcome.choices, db_default=Outcome.OPEN)
    reference = models.CharField(max_length=128, blank=True, db_default="", help_text="The gateway's.")
    reason = models.CharField(max_length=200, blank=True, db_default="", help_text="Why we ask, or why it was refused.")
    caused_by = models.UUIDField(
        null=True, help_text="The event that requested this; redelivering it re-emits the outcome."
    )
    at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)

    changed = False  # since it was read

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["payment", "key"], name="payments_operation_once"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="payments_operation_positive"),
            models.CheckConstraint(
                condition=models.Q(settled_at=None, outcome="OPEN")
                | models.Q(settled_at__isnull=False) & ~models.Q(outcome="OPEN"),
                name="payments_operation_settled",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind.lower()} {money(self.amount, self.currency)}: {self.outcome.lower()}"


class PaymentAttempt(models.Model):
    """A request to a gateway, and its answer. A charge that succeeds at the first attempt is not logged here."""

    class Operation(models.TextChoices):
        CHARGE = "CHARGE"
        CONFIRM = "CONFIRM"
        CAPTURE = "CAPTURE"
        VOID = "VOID"
        REFUND = "REFUND"
        FIND = "FIND"

    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="asked")
    operation = models.CharField(max_length=8, choices=Operation.choices)
    outcome = models.CharField(max_length=16)
    detail = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.operation.lower()}: {self.outcome.lower()}"


class GatewayNotification(models.Model):
    """A provider's notification that has a payment looked up, kept so that a repeated one does not do so again."""

    gateway = models.CharField(max_length=32)
    event_id = models.CharField(max_length=128)
    payment = models.CharField(max_length=64, blank=True, help_text="The payment's name at its gateway.")
    reference = models.CharField(max_length=128, blank=True, help_text="The payment, as its gateway calls it.")
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["gateway", "event_id"], name="payments_notified_once")]

    def __str__(self) -> str:
        return f"{self.gateway}: {self.event_id}"


class GatewayLedger(models.Model):
    """The books of the sandbox gateways: written by them alone, in their own transactions."""

    gateway = models.CharField(max_length=32)
    payment = models.CharField(max_length=64, help_text="The payment's name at its gateway.")
    key = models.CharField(max_length=80, help_text="Of the operation.")
    kind = models.CharField(max_length=16, choices=PaymentOperation.Kind.choices)
    amount = models.BigIntegerField(validators=[MinValueValidator(1)])
    currency = models.CharField(max_length=3)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "gateway ledger entry"
        verbose_name_plural = "gateway ledger"
        constraints = [
            models.UniqueConstraint(fields=["gateway", "payment", "key"], name="payments_ledger_once"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="payments_ledger_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.gateway}: {self.kind.lower()} {self.payment} {money(self.amount, self.currency)}"


class SandboxPage(models.Model):
    """A payment that waits at a sandbox gateway for its customer, who pays or gives up on its page."""

    class Decision(models.TextChoices):
        OPEN = "OPEN"
        PAID = "PAID"
        GIVEN_UP = "GIVEN_UP"
        VOIDED = "VOIDED"

    gateway = models.CharField(max_length=32)
    payment = models.CharField(max_length=64)
    key = models.CharField(max_length=80)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    capture = models.BooleanField()
    deposit = models.BooleanField()
    url = models.TextField()
    until = models.DateTimeField()
    decision = models.CharField(max_length=8, choices=Decision.choices, db_default=Decision.OPEN)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["gateway", "payment"], name="payments_page_once")]

    def __str__(self) -> str:
        return f"{self.gateway}: {self.payment} is {self.decision}"


class SandboxRequest(models.Model):
    """How often a sandbox gateway was asked the same thing, for tokens and failure rates that depend on it."""

    pk = models.CompositePrimaryKey("gateway", "operation", "key")
    gateway = models.CharField(max_length=32)
    operation = models.CharField(max_length=16)
    key = models.CharField(max_length=80)
    requests = models.PositiveIntegerField()


class SandboxSwitch(models.Model):
    """Takes a sandbox gateway away, for every process at once."""

    gateway = models.CharField(max_length=32, primary_key=True, choices=[(name, name) for name in GATEWAYS])
    away = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "sandbox switches"

    def __str__(self) -> str:
        return f"{self.gateway} is {'away' if self.away else 'there'}"


class Inbox(messages.Inbox):
    """Events that the steps of payments have handled."""


class Outbox(messages.Outbox):
    """What payments found out by asking again, on its way to the broker."""


class Unsent(messages.Unsent):
    """Of payments' outbox, what is not published yet."""


class DeadLetter(messages.DeadLetter):
    """Events that payments could not handle."""


class StaffAction(stafflog.StaffAction):
    """What staff changed in payments."""

"""The tables of reconciliation. Django finds them by the list in `payments/models.py`."""

from django.db import models
from django.db.models.functions import Now


class Reconciliation(models.Model):
    """A provider's books of a day, compared with our ledger: the newest run of that day. Written by `reconcile`."""

    gateway = models.CharField(max_length=32)
    day = models.DateField(help_text="In the provider's time zone.")
    source = models.CharField(max_length=200, blank=True, help_text="The settlement file; empty: the provider's API.")
    movements = models.PositiveIntegerField(db_default=0, help_text="That the provider lists.")
    entries = models.PositiveIntegerField(db_default=0, help_text="Of our ledger on that day.")
    missing_here = models.PositiveIntegerField(db_default=0)
    missing_there = models.PositiveIntegerField(db_default=0)
    other_amount = models.PositiveIntegerField(db_default=0)
    on_another_day = models.PositiveIntegerField(db_default=0, help_text="Made near midnight: no difference.")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["gateway", "day"], condition=models.Q(ended_at__isnull=False), name="payments_reconciled_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.gateway} {self.day}"


class ReconciliationDifference(models.Model):
    """A movement of money about which a provider and our ledger disagree. Amounts are in the minor unit."""

    class Kind(models.TextChoices):
        MISSING_HERE = "MISSING_HERE"  # the provider lists it, and our ledger does not have it as succeeded
        MISSING_THERE = "MISSING_THERE"  # our ledger has it, and the provider does not list it
        OTHER_AMOUNT = "OTHER_AMOUNT"

    reconciliation = models.ForeignKey(Reconciliation, on_delete=models.CASCADE, related_name="differences")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    movement = models.CharField(max_length=16, choices=[("CAPTURE", "Capture"), ("REFUND", "Refund")])
    order_id = models.BigIntegerField(null=True, help_text="Empty if we know of no such payment.")
    reference = models.CharField(max_length=128, blank=True, help_text="The payment, as its gateway calls it.")
    ours = models.BigIntegerField(null=True)
    theirs = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3)
    at = models.DateTimeField()
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.movement.lower()} {self.reference}"


class StatementEntry(models.Model):
    """A movement in a provider's books, only as long as they are being compared."""

    reconciliation = models.ForeignKey(Reconciliation, on_delete=models.CASCADE, related_name="lines", db_index=False)
    payment = models.ForeignKey(
        "payments.Payment", on_delete=models.CASCADE, null=True, related_name="+", db_index=False
    )
    name = models.CharField(max_length=64, blank=True, help_text="The payment's name at its gateway.")
    reference = models.CharField(max_length=128)
    key = models.CharField(max_length=80, blank=True)
    kind = models.CharField(max_length=16)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["reconciliation", "payment"], name="payments_statement_of")]

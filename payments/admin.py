from django.contrib import admin

from payments.models import DeadLetter, GatewayLedger, Outbox, Payment, PaymentAttempt, SandboxSwitch
from sagas.admin import DeadLetterAdmin, OutboxAdmin, ReadOnlyAdmin, ReadOnlyInline

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)


class AttemptInline(ReadOnlyInline):
    model = PaymentAttempt
    fields = ["at", "operation", "outcome", "detail"]


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """Payments are moved by their sagas and by what the gateways answer."""

    list_display = ["order_id", "user_id", "badge", "amount", "currency", "gateway", "reason", "due_at", "created_at"]
    list_filter = ["status", "gateway", ("due_at", admin.EmptyFieldListFilter)]
    search_fields = ["=order_id", "=user_id"]
    exclude = ["token", "checkout"]
    inlines = [AttemptInline]


@admin.register(GatewayLedger)
class GatewayLedgerAdmin(ReadOnlyAdmin):
    """The sandbox gateways' own books."""

    list_display = ["at", "gateway", "key", "kind", "amount", "currency"]
    list_filter = ["gateway", "kind"]
    search_fields = ["=key"]


@admin.register(SandboxSwitch)
class SandboxSwitchAdmin(admin.ModelAdmin):
    """Take a sandbox gateway away, and bring it back, to see what the shop does."""

    list_display = ["gateway", "away"]

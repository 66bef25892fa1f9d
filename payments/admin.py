from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import Q, QuerySet
from django.forms import CharField
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from desk import words
from desk.admin import DeadLetterAdmin, DeskAdmin, OnPage, OutboxAdmin, ReadOnlyAdmin, ReadOnlyInline, StaffActionAdmin
from desk.stale import UnlessStale
from payments import captures
from payments.models import (
    DeadLetter,
    GatewayLedger,
    Outbox,
    Payment,
    PaymentAttempt,
    PaymentOperation,
    Reconciliation,
    ReconciliationDifference,
    SandboxSwitch,
    StaffAction,
)
from payments.names import order_in
from shop.money import money

admin.site.register(StaffAction, StaffActionAdmin)

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)


# Of a payment's page.
FIRST = [
    "badge", "of_order", "customer", "why", "money", "gateway", "was_authorized", "was_captured", "was_refunded",
    "refunded_at",
]  # fmt: skip
ANSWERS = {  # of a gateway, as attempts have them
    "ACTIONREQUIRED": _("Waiting"), "AUTHORIZED": _("Authorized"), "CAPTURED": _("Captured"), "DECLINED": _("Declined"),
    "DONE": _("Done"), "NOTFOUND": _("Not found"), "REFUSED": _("Refused"), "STATE": _("Found"),
    "UNKNOWN": _("No answer"), "WAITING": _("Waiting"),
}  # fmt: skip
INSTEAD_OF = {"id", "status", "order_id", "user_id", "reason", "authorized", "captured", "refunded", "trace"}


class AttemptInline(ReadOnlyInline):
    model = PaymentAttempt
    fields = ["at", "operation", "answer", "what"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "answer", "what"]

    @admin.display(description=_("outcome"))
    def answer(self, row: PaymentAttempt) -> str:
        return str(ANSWERS.get(row.outcome, row.outcome))

    @admin.display(description=_("detail"))
    def what(self, row: PaymentAttempt) -> str:
        return words.reason(row.detail)


class OperationInline(ReadOnlyInline):
    model = PaymentOperation
    fields = ["at", "kind", "money", "outcome", "why", "key", "reference", "settled_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "money", "why"]

    @admin.display(description=_("reason"))
    def why(self, row: PaymentOperation) -> str:
        return words.reason(row.reason)

    @admin.display(description=_("amount"))
    def money(self, row: PaymentOperation) -> str:
        return money(row.amount, row.currency) if row.amount else "–"


class WithMoney(ReadOnlyAdmin):
    """Rows with an amount in a currency."""

    @admin.display(description=_("amount"), ordering="amount")
    def money(self, row: Any) -> str:
        return money(row.amount, row.currency) if row.amount else "–"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The amount as one reads it, in the place of the two columns."""
        names = [name for name in self.get_readonly_fields(request, obj) if name != "currency"]
        return list(dict.fromkeys("money" if name == "amount" else name for name in names))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "money"]


class WriteOffForm(ActionForm):
    """Beside the choice of the action: why."""

    reason = CharField(required=False, max_length=200, label=_("Why, to write off:"))


@admin.register(Payment)
class PaymentAdmin(WithMoney):
    """Payments are moved by their sagas and by what the gateways answer; staff settle what could not be captured."""

    list_display = ["order_id", "customer", "badge", "money", "gateway", "why", "due_at", "created_at"]
    list_filter = ["status", "gateway", ("due_at", admin.EmptyFieldListFilter)]
    search_fields = ["=order_id", "=user_id"]
    search_help_text = _("The number of an order or of a customer, or the name of a payment as its gateway shows it.")
    by_customer = as_cards = True
    exclude = ["token", "checkout", "action_url", "action_details", "returned_with"]
    inlines = [OperationInline, AttemptInline]
    action_form = WriteOffForm
    actions = ["capture_again", "write_off"]
    on_page = {
        "capture_again": OnPage(_("Capture again"), _("The gateway is asked once more for the money that was held.")),
        "write_off": OnPage(_("Write off"), _("The order is completed without its money."), reason=True),
    }
    logged_by_services = True

    def get_fields(self, request: HttpRequest, obj: Payment | None = None) -> Any:
        """What people ask first, two in a row; then the rest."""
        rest = [name for name in super().get_fields(request, obj) if name not in INSTEAD_OF | set(FIRST)]
        return [*zip(FIRST[::2], FIRST[1::2], strict=True), *rest]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *FIRST]

    @admin.display(description=_("reason"), ordering="reason", empty_value="")
    def why(self, row: Payment) -> str:
        return words.reason(row.reason)

    @admin.display(description=_("order"))
    def of_order(self, row: Payment) -> SafeString:
        page = reverse("admin:orders_order_change", args=[row.order_id])
        return format_html('<a href="{}">{}</a>', page, row.order_id)

    @admin.display(description=_("authorized"))
    def was_authorized(self, row: Payment) -> str:
        return money(row.authorized, row.currency) if row.authorized else ""

    @admin.display(description=_("captured"))
    def was_captured(self, row: Payment) -> str:
        return money(row.captured, row.currency) if row.captured else ""

    @admin.display(description=_("given back"))
    def was_refunded(self, row: Payment) -> str:
        return money(row.refunded, row.currency) if row.refunded else ""

    def possible(self, row: Payment) -> Collection[str]:
        return self.on_page if row.status == Payment.Status.UNPAID else ()

    @admin.action(description=_("Capture again: ask the gateway once more for unpaid money"), permissions=["change"])
    def capture_again(self, request: HttpRequest, chosen: QuerySet[Payment]) -> None:
        """What was held, and could not be taken. The timer asks, and the order's timeline says what became of it."""
        asked = captures.capture_again(chosen.values_list("pk", flat=True))
        messages.success(request, _("To be captured again: %d.") % asked)

    @admin.action(description=_("Write off: complete the orders without their money"), permissions=["change"])
    def write_off(self, request: HttpRequest, chosen: QuerySet[Payment]) -> None:
        """Give up what could not be taken; the staff log keeps why."""
        reason = request.POST.get("reason", "").strip()
        if not reason:
            messages.error(request, _("Nothing was written off: say why, in the field beside the action."))
            return
        given_up = captures.write_off(chosen.values_list("pk", flat=True), reason)
        messages.success(request, _("Written off: %d.") % given_up)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Payment], search_term: str
    ) -> tuple[QuerySet[Payment], bool]:
        """By a payment's name, too."""
        if order_id := order_in(name := search_term.strip()):
            return queryset.filter(order_id=order_id, idempotency_key=name), False
        return super().get_search_results(request, queryset, search_term)


@admin.register(GatewayLedger)
class GatewayLedgerAdmin(WithMoney):
    """The sandbox gateways' own books."""

    list_display = ["at", "gateway", "payment", "key", "kind", "money"]
    list_filter = ["gateway", "kind"]
    search_fields = ["=payment"]
    search_help_text = _("An order's number, or the key of its payment.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[GatewayLedger], search_term: str
    ) -> tuple[QuerySet[GatewayLedger], bool]:
        """By a payment's name, and by order; with the gateway, for that is what the index begins with."""
        if not search_term.strip():
            return queryset, False
        keys = [search_term.strip()]
        if keys[0].isdecimal() and int(keys[0]) < 2**63:
            keys += Payment.objects.filter(order_id=int(keys[0])).values_list("idempotency_key", flat=True)
        return queryset.filter(Q(gateway__in=settings.PAYMENT_GATEWAYS, payment__in=keys)), False


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyAdmin):
    """What `manage.py reconcile` has compared, newest day first; one that has not ended is under way."""

    list_display = [
        "gateway", "day", "movements", "entries", "missing_here", "missing_there", "other_amount", "on_another_day",
        "ended_at",
    ]  # fmt: skip
    list_filter = ["gateway", "day"]
    ordering = ["-day", "gateway"]


@admin.register(ReconciliationDifference)
class ReconciliationDifferenceAdmin(ReadOnlyAdmin):
    """About what the providers and our ledger disagree."""

    list_display = ["reconciliation", "kind", "movement", "order_id", "reference", "our_money", "their_money", "at"]
    list_filter = ["kind", "reconciliation__gateway", "reconciliation__day"]
    list_select_related = ["reconciliation"]
    search_fields = ["=order_id", "=reference"]
    ordering = ["-pk"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "our_money", "their_money"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Amounts as one reads them."""
        named = {"ours": "our_money", "theirs": "their_money"}
        names = super().get_readonly_fields(request, obj)
        return [named.get(name, name) for name in names if name != "currency"]

    @admin.display(description=_("ours"), ordering="ours")
    def our_money(self, row: ReconciliationDifference) -> str:
        return "–" if row.ours is None else money(row.ours, row.currency)

    @admin.display(description=_("theirs"), ordering="theirs")
    def their_money(self, row: ReconciliationDifference) -> str:
        return "–" if row.theirs is None else money(row.theirs, row.currency)


class SwitchForm(UnlessStale):
    class Meta:
        model = SandboxSwitch
        fields = ["gateway", "away"]


@admin.register(SandboxSwitch)
class SandboxSwitchAdmin(DeskAdmin):
    """Take a sandbox gateway away, and bring it back, to see what the shop does."""

    list_display = ["gateway", "away"]
    form = SwitchForm

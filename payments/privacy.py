"""What payments keeps of a customer. A token is forgotten once its payment is settled; amounts and dates are kept."""

from collections.abc import Collection, Sequence
from typing import Any

from payments.models import GatewayLedger, Payment, PaymentAttempt, PaymentOperation
from payments.rows import lock
from shop.calls.personal import listed
from shop.contracts.events import CustomerErased, orders_of
from shop.contracts.personal import Rows
from shop.contracts.reasons import CARRIER, ERASED
from shop.redaction import redact_messages

SECRET = ("token", "checkout", "action_url", "returned_with")  # which nobody is shown


def of_orders(order_ids: Collection[int]) -> Rows:
    """What is kept of these orders; nobody is shown a token."""
    payments = Payment.objects.filter(order_id__in=order_ids).order_by("order_id")
    keys = payments.order_by().values("idempotency_key")
    return {
        "payments": listed(payments, *SECRET),
        "operations": listed(PaymentOperation.objects.filter(payment__order_id__in=order_ids).order_by("pk")),
        "attempts": listed(PaymentAttempt.objects.filter(payment__order_id__in=order_ids).order_by("pk")),
        "gateway_ledger": listed(GatewayLedger.objects.filter(payment__in=keys).order_by("pk")),
    }


def erase(erased: Sequence[CustomerErased]) -> None:
    """Keep nothing that names these customers. Runs inside a transaction on payments."""
    order_ids = orders_of(erased)
    lock(order_ids)
    payments = Payment.objects.filter(order_id__in=order_ids).exclude(status=Payment.Status.PENDING)
    nothing: dict[str, Any] = {"checkout": None, "action_details": None, "returned_with": None}
    payments.update(token="", action_url="", **nothing)  # nosec B106: no token is what is wanted
    payments.filter(reason__startswith=CARRIER).update(reason=ERASED)
    PaymentOperation.objects.filter(payment__order_id__in=order_ids).update(reason="")  # also staff's words
    redact_messages("payments", order_ids)

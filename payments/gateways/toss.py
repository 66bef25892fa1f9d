"""Toss Payments: a payment on Toss's page, confirmed by us, cancelled in parts; virtual accounts.

- A payment is made with `POST /v1/payments`, and its `checkout.url` is the page. There the customer has 30 minutes,
  and afterwards we have 10 to confirm; until then no money moves (https://docs.tosspayments.com/en/webhooks).
- The page sends the customer back to `successUrl` with `paymentKey`, `orderId` and `amount`, or to `failUrl` with
  `code` and `message` (https://docs.tosspayments.com/reference/js-sdk). None of these is believed:
  the payment is read first, its amount compared, and then confirmed (https://docs.tosspayments.com/reference#결제-승인).
- Money is taken with the confirmation; it cannot be held. A part or all of it is given back by
  `POST /v1/payments/{paymentKey}/cancel` (https://docs.tosspayments.com/common/apis/cancel-payment). The key of the
  operation is written into `cancelReason`, by which a cancellation is found again.
- A virtual account waits for its deposit until `virtualAccount.dueDate`. Refunding one needs the customer's account
  (`refundReceiveAccount`), which Toss has asked for or not; if not, the refund is refused here.
- `orderId` is our name of the payment: 6 to 64 letters, digits, `-`, `_`, `=`.
- Keys: header `Idempotency-Key`, up to 300 characters, kept for 15 days, for each URL; 409
  `IDEMPOTENT_REQUEST_PROCESSING` while the first request is under way
  (https://docs.tosspayments.com/guides/using-api/idempotency-key).
- Authentication: Basic, the secret key as user, no password
  (https://docs.tosspayments.com/reference/using-api/authorization).
- Payment notifications are not signed (https://docs.tosspayments.com/guides/webhook). They are hints, and the payment
  is read at Toss.
- Transactions of a day: `GET /v1/transactions`, in Korean time, up to 60 seconds
  (https://docs.tosspayments.com/guides/apis/transactions). Errors:
  https://docs.tosspayments.com/reference/error-codes.

Not verified, for want of a contract: that `POST /v1/payments` is open to every shop (public programs use it; a page of
the reference for it could not be found), whether its `method` is needed, and the sign of a cancellation's amount among
the transactions, which is ignored here. Only KRW.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from payments.gateways.base import (
    ActionRequired,
    Authorization,
    Authorizing,
    Capabilities,
    Captured,
    Declined,
    Done,
    Finding,
    Forged,
    Kind,
    Lookup,
    NotFound,
    Notification,
    Operating,
    Operation,
    Refused,
    Return,
    State,
    StatementLine,
    Unknown,
    Waiting,
)
from payments.gateways.http import Limits, NoAnswer, OneByOne, Provider, with_query

logger = logging.getLogger(__name__)

URL = "https://api.tosspayments.com"
KOREA = ZoneInfo("Asia/Seoul")
PAGE_OPEN = timedelta(minutes=30)
METHODS = {"card": "CARD", "virtual_account": "VIRTUAL_ACCOUNT"}
STATEMENT_TIMEOUT = 60.0  # seconds
PORTION = 5_000  # transactions in one answer, at most
OPEN = {"PROVIDER_ERROR", "IDEMPOTENT_REQUEST_PROCESSING", "FAILED_INTERNAL_SYSTEM_PROCESSING", "UNKNOWN_PAYMENT_ERROR"}
OURS = {"UNAUTHORIZED_KEY", "INVALID_API_KEY", "FORBIDDEN_REQUEST", "INCORRECT_BASIC_AUTH_FORMAT"}  # our configuration

R = TypeVar("R", Declined, Refused)


class TossGateway(OneByOne):
    """One account (MID). Options: `secret_key`; `url` of a stand-in; `Limits`."""

    url, zone = URL, KOREA
    capabilities = Capabilities(
        separate_capture=False, partial_refund=True, customer_action=True, asynchronous=True, methods=tuple(METHODS)
    )

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.name = name
        self.provider = Provider(name, Limits.of(options, Limits(concurrency=64)))
        self._url = options.get("url", URL)
        self._auth = (options["secret_key"], "")

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """`PAYMENT_STATUS_CHANGED` or `DEPOSIT_CALLBACK`; other events name no payment. Raises `Forged` for what is no
        event."""
        try:
            said = json.loads(body)
            about = said.get("data") or said
            payment, reference = about.get("orderId") or "", about.get("paymentKey") or ""
            is_event = bool(payment or said.get("eventType"))
        except (ValueError, AttributeError) as error:
            raise Forged("not a notification of Toss Payments") from error
        if not (is_event and isinstance(payment, str) and isinstance(reference, str)):
            raise Forged("not a notification of Toss Payments")
        event = headers.get("tosspayments-webhook-transmission-id") or sha256(body).hexdigest()
        return Notification(event[:64], payment, reference)

    def statement(self, day: date) -> Iterator[StatementLine]:
        """The transactions of a day in Korea. Raises `NoAnswer`."""
        query = {"startDate": f"{day}T00:00:00", "endDate": f"{day}T23:59:59", "limit": str(PORTION)}
        while True:
            status, moved = self.provider.json(
                "GET", f"{self._url}/v1/transactions", params=query, auth=self._auth, timeout=STATEMENT_TIMEOUT
            )
            if status != 200:
                raise NoAnswer(f"answered {status} {moved}")
            for one in moved:
                kind = {"DONE": Kind.CAPTURE, "CANCELED": Kind.REFUND, "PARTIAL_CANCELED": Kind.REFUND}.get(
                    one["status"]
                )
                if kind:
                    yield StatementLine(
                        reference=one["paymentKey"],
                        payment=one["orderId"],
                        kind=kind,
                        amount=abs(int(one["amount"])),
                        currency=one["currency"],
                        at=datetime.fromisoformat(one["transactionAt"]),
                    )
            if len(moved) < PORTION:
                return
            query["startingAfter"] = moved[-1]["transactionKey"]

    # --- One of a batch -----------------------------------------------------------------------------------------------
    def _authorize(self, request: Authorization) -> Authorizing:
        if request.currency != "KRW":
            return Declined(f"PAY002: Toss Payments takes KRW, not {request.currency}")
        order = {
            "method": METHODS.get(request.method, "CARD"),
            "amount": request.amount,
            "orderId": request.payment,
            "orderName": f"Order {request.order_id}",
            "successUrl": request.return_url(),
            "failUrl": with_query(request.return_url(), outcome="fail"),
        }
        status, said = self._ask("POST", "/v1/payments", request.key, order)
        if status != 200:
            if said.get("code") != "DUPLICATED_ORDER_ID":
                return self._refusal(status, said, Declined)
            status, said = self._read(request.payment, "")
        elif datetime.now(UTC) - _time(said["requestedAt"]) > timedelta(seconds=1):
            status, said = self._read(request.payment, said["paymentKey"])  # a repeated request: as it was then
        if status != 200:
            return self._refusal(status, said, Declined)
        answer = _answer(said, request.amount)
        if isinstance(answer, ActionRequired) and request.until is not None:
            return replace(answer, until=min(answer.until, request.until))
        return answer

    def _confirm(self, came: Return) -> Authorizing:
        status, said = self._read(came.payment, came.reference)
        if status != 200:
            return self._refusal(status, said, Declined)
        answer = _answer(said, came.amount)
        if said["status"] == "READY" and (code := came.parameters.get("code")):
            return Declined(f"PAY002: {code}: {came.parameters.get('message', '')}"[:200])
        if said["status"] != "IN_PROGRESS" or not isinstance(answer, ActionRequired):
            return answer
        order = {"paymentKey": said["paymentKey"], "orderId": came.payment, "amount": came.amount}
        status, said = self._ask("POST", "/v1/payments/confirm", f"{came.key}-confirm", order)
        if status == 200:
            return _answer(said, came.amount)
        if said.get("code") == "ALREADY_PROCESSED_PAYMENT":
            return Unknown("confirmed by another request in this moment")
        return self._refusal(status, said, Declined)

    def _void(self, operation: Operation) -> Operating:
        """End a wait for a deposit. What only waits for its customer is never confirmed, which is the same."""
        status, said = self._read(operation.payment, operation.reference)
        if status != 200:
            return self._refusal(status, said, Refused)
        if said["status"] == "WAITING_FOR_DEPOSIT":
            return self._cancel(said, operation, whole=True)
        if said["status"] in ("DONE", "PARTIAL_CANCELED") or (said["status"] == "CANCELED" and _was_paid(said)):
            return Refused("PAY003: paid, to be refunded")
        return Done(said["paymentKey"])

    def _refund(self, operation: Operation) -> Operating:
        status, said = self._read(operation.payment, operation.reference)
        if status != 200:
            return self._refusal(status, said, Refused)
        if _cancelled_by(said, operation.key):
            return Done(said["paymentKey"])
        if not _was_paid(said):
            return Refused(f"PAY003: nothing was paid: {said['status']}")
        return self._cancel(said, operation, whole=False)

    def _cancel(self, payment: Mapping[str, Any], operation: Operation, *, whole: bool) -> Operating:
        body: dict[str, Any] = {"cancelReason": f"{operation.reason or 'cancelled'} ({operation.key})"[-200:]}
        if not whole:
            body["cancelAmount"] = operation.amount
            if payment.get("virtualAccount"):
                account = payment["virtualAccount"].get("refundReceiveAccount")
                if not account:
                    return Refused(
                        "PAY003: a deposit is refunded in Toss's dashboard: its customer's account is unknown"
                    )
                body["refundReceiveAccount"] = {
                    "bank": account["bankCode"],
                    "accountNumber": account["accountNumber"],
                    "holderName": account["holderName"],
                }
        path = f"/v1/payments/{payment['paymentKey']}/cancel"
        status, said = self._ask("POST", path, operation.key, body)
        if status == 200:
            return Done(said["paymentKey"])
        return self._refusal(status, said, Refused)

    def _find(self, sought: Lookup) -> Finding:
        status, said = self._read(sought.payment, sought.reference)
        if status == 404:
            return NotFound()
        if status != 200:
            return Unknown(f"{said.get('code')}: {said.get('message')}"[:200])
        return _state(said)

    # --- Questions to Toss --------------------------------------------------------------------------------------------
    def _read(self, payment: str, reference: str) -> tuple[int, dict[str, Any]]:
        return self._ask("GET", f"/v1/payments/{reference}" if reference else f"/v1/payments/orders/{payment}")

    def _ask(self, method: str, path: str, key: str = "", body: Any = None) -> tuple[int, dict[str, Any]]:
        headers = {"Idempotency-Key": key} if key else {}
        given = {"json": body} if body is not None else {}
        status, said = self.provider.json(method, self._url + path, headers=headers, auth=self._auth, **given)
        if not isinstance(said, dict):
            raise NoAnswer("answered with a list")
        return status, said

    def _refusal(self, status: int, said: Mapping[str, Any], kind: type[R]) -> R | Unknown:
        """A final refusal; `Unknown` for a temporary one, or if our keys are refused."""
        code, reason = said.get("code", str(status)), f"{said.get('code')}: {said.get('message')}"
        if code in OURS or status in (401, 403):
            logger.error("%s refuses us: %s", self.name, reason)
            return Unknown(reason[:200])
        if code in OPEN or status == 409:
            return Unknown(reason[:200])
        return kind(f"{'PAY002' if kind is Declined else 'PAY003'}: {reason}"[:200])


# --- What Toss's words mean -------------------------------------------------------------------------------------------
def _answer(payment: Mapping[str, Any], amount: int) -> Authorizing:
    reference = payment["paymentKey"]
    if int(payment["totalAmount"]) != amount or payment["currency"] != "KRW":
        logger.error(
            "Toss's %s is of %s %s, not %s KRW", reference, payment["totalAmount"], payment["currency"], amount
        )
        return Unknown(f"{reference} has another amount")
    match payment["status"]:
        case "READY" | "IN_PROGRESS":
            until = _time(payment["requestedAt"]) + PAGE_OPEN
            return ActionRequired(reference, payment["checkout"]["url"], until)
        case "WAITING_FOR_DEPOSIT":
            account = payment["virtualAccount"]
            details = {
                "bank": account["bankCode"],
                "account": account["accountNumber"],
                "holder": account["customerName"],
            }
            return Waiting(reference, _time(account["dueDate"]), details)
        case "DONE" | "PARTIAL_CANCELED":
            return Captured(reference)
        case "CANCELED" if _was_paid(payment):
            return Captured(reference)
        case "CANCELED" | "ABORTED" | "EXPIRED" as status:
            failure = payment.get("failure") or {}
            return Declined(f"PAY002: {failure.get('code', status)}: {failure.get('message', '')}"[:200])
    return Unknown(f"{reference} is {payment['status']}")


def _state(payment: Mapping[str, Any]) -> State:
    paid = int(payment["totalAmount"]) if _was_paid(payment) else 0
    action = _answer(payment, int(payment["totalAmount"]))
    return State(
        reference=payment["paymentKey"],
        authorized=paid,
        captured=paid,
        refunded=paid - int(payment["balanceAmount"]) if paid else 0,
        voided=not paid and payment["status"] in ("CANCELED", "ABORTED", "EXPIRED"),
        action=action if isinstance(action, ActionRequired | Waiting) else None,
    )


def _was_paid(payment: Mapping[str, Any]) -> bool:
    """Whether its money was taken, be it given back since. A virtual account is approved with its deposit."""
    return bool(payment.get("approvedAt")) and payment["status"] in ("DONE", "PARTIAL_CANCELED", "CANCELED")


def _cancelled_by(payment: Mapping[str, Any], key: str) -> bool:
    return any(one["cancelReason"].endswith(f"({key})") for one in payment.get("cancels") or [])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)

"""KakaoPay: made ready, paid in KakaoTalk, approved by us, cancelled in parts; without idempotency keys.

- `POST /online/v1/payment/ready` answers with `tid`, the payment's number, and with the page for the customer
  (`next_redirect_pc_url`; on a phone it leads on to the app). The customer comes back to `approval_url` with
  `pg_token`, or to `cancel_url` or `fail_url` (https://developers.kakaopay.com/docs/payment/online/single-payment,
  https://developers.kakao.com/docs/latest/ko/kakaopay/single-payment).
- `POST …/approve` with `tid` and `pg_token` takes the money; nothing else does. It cannot be held. Without the token a
  payment cannot be approved: who closes the window has not paid.
- `POST …/order` tells a payment's `status`, what was cancelled and what can be, and each payment and cancellation with
  the `payload` that came with it.
- `POST …/cancel` gives back a part or all (https://developers.kakao.com/docs/latest/ko/kakaopay/cancellation). In the
  place of idempotency keys: the operation's key is sent as `payload`, and looked for among the cancellations before;
  and `cancel_available_amount` is what could be cancelled then, so that of two requests at once KakaoPay refuses one.
- Authentication: `Authorization: SECRET_KEY …`; a shop is a `cid`, `TC0ONETIME` in tests. Amounts are in won.
- There are no notifications, and a payment is found by its `tid` alone. If the answer to `ready` was lost, nobody has
  the page, and nobody can pay: it is made ready once more.

Not verified, for want of a contract: the codes of errors, on which nothing here depends (a refused approval or
cancellation is looked up); that a `cancel_available_amount` which is not what can be cancelled is refused, as its name
says; how long a page is open (15 minutes are assumed); and a list of a day's payments, which the API does not have, so
that reconciliation takes the settlement file.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

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
)
from payments.gateways.http import Limits, NoAnswer, OneByOne, Provider, with_query

logger = logging.getLogger(__name__)

URL = "https://open-api.kakaopay.com"
KOREA = ZoneInfo("Asia/Seoul")
PAGE_OPEN = timedelta(minutes=15)
PAID = {"SUCCESS_PAYMENT", "PART_CANCEL_PAYMENT", "CANCEL_PAYMENT"}
OVER = {"QUIT_PAYMENT", "FAIL_PAYMENT", "FAIL_AUTH_PASSWORD"}  # never to be paid


class KakaoGateway(OneByOne):
    """One shop (CID). Options: `secret_key`, `cid`; `url` of a stand-in; `Limits`."""

    url, zone = URL, KOREA
    capabilities = Capabilities(separate_capture=False, partial_refund=True, customer_action=True, asynchronous=False)

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.name = name
        self.provider = Provider(name, Limits.of(options, Limits()))
        self._url, self._cid = options.get("url", URL), options["cid"]
        self._headers = {"Authorization": f"SECRET_KEY {options['secret_key']}"}

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """KakaoPay sends none. Raises `Forged`."""
        raise Forged("KakaoPay sends no notifications")

    def statement(self, day: date) -> Iterator[StatementLine]:
        """Raises NotImplementedError: the API lists no payments."""
        raise NotImplementedError("KakaoPay lists no payments: take its settlement file")

    # --- One of a batch -----------------------------------------------------------------------------------------------
    def _authorize(self, request: Authorization) -> Authorizing:
        if request.currency != "KRW":
            return Declined(f"PAY002: KakaoPay takes KRW, not {request.currency}")
        order = {
            "partner_order_id": request.payment,
            "partner_user_id": request.payment,
            "item_name": f"Order {request.order_id}",
            "quantity": 1,
            "total_amount": request.amount,
            "tax_free_amount": 0,
            "approval_url": request.return_url(),
            "cancel_url": with_query(request.return_url(), outcome="cancel"),
            "fail_url": with_query(request.return_url(), outcome="fail"),
        }
        status, said = self._ask("ready", order)
        if status != 200:
            return self._refusal(status, said) or Declined(_reason("PAY002", said))
        until = datetime.now(UTC) + PAGE_OPEN
        if request.until is not None:
            until = min(until, request.until)
        return ActionRequired(said["tid"], said["next_redirect_pc_url"], until)

    def _confirm(self, came: Return) -> Authorizing:
        if not came.reference:
            return Unknown("the payment's number is not known")
        status, said = self._ask("order", {"tid": came.reference})
        if status != 200:
            return self._refusal(status, said) or Unknown(_reason("", said))
        answer = _answer(said, came)
        token = came.parameters.get("pg_token", "")
        if not isinstance(answer, ActionRequired):
            return answer
        if came.parameters.get("outcome") in ("cancel", "fail"):
            return Declined(f"PAY002: {came.parameters['outcome']} on KakaoPay's page")
        if not token:
            return answer
        approval = {
            "tid": came.reference,
            "partner_order_id": came.payment,
            "partner_user_id": came.payment,
            "pg_token": token,
            "total_amount": came.amount,
        }
        status, said = self._ask("approve", approval)
        if status == 200:
            return Captured(came.reference) if said["amount"]["total"] == came.amount else _another(came)
        if unknown := self._refusal(status, said):
            return unknown
        _, now = self._ask("order", {"tid": came.reference})  # refused, or approved by another request
        answer = _answer(now, came)
        return Declined(_reason("PAY002", said)) if isinstance(answer, ActionRequired) else answer

    def _void(self, operation: Operation) -> Operating:
        """What waits for its customer is not approved any more, which ends it."""
        found = self._find(Lookup(operation.payment, operation.reference))
        if isinstance(found, State) and found.captured:
            return Refused("PAY003: paid, to be refunded")
        return found if isinstance(found, Unknown) else Done(operation.reference)

    def _refund(self, operation: Operation) -> Operating:
        status, said = self._ask("order", {"tid": operation.reference})
        if status != 200:
            return self._refusal(status, said) or Refused(_reason("PAY003", said))
        if _cancelled_by(said, operation.key):
            return Done(operation.reference)
        if said["status"] not in PAID:
            return Refused(f"PAY003: nothing was paid: {said['status']}")
        available = said["cancel_available_amount"]["total"]
        if operation.amount > available:
            return Refused(f"PAY003: {available} can be given back")
        status, refusal = self._ask(
            "cancel",
            {
                "tid": operation.reference,
                "cancel_amount": operation.amount,
                "cancel_tax_free_amount": 0,
                "cancel_available_amount": available,
                "payload": operation.key,
            },
        )
        if status == 200:
            return Done(operation.reference)
        if unknown := self._refusal(status, refusal):
            return unknown
        status, now = self._ask("order", {"tid": operation.reference})
        if status == 200 and now["cancel_available_amount"]["total"] != available:
            return Done(operation.reference) if _cancelled_by(now, operation.key) else Unknown("another came between")
        return Refused(_reason("PAY003", refusal)) if status == 200 else Unknown(_reason("", refusal))

    def _find(self, sought: Lookup) -> Finding:
        if not sought.reference:
            return NotFound()  # nobody has its page
        status, said = self._ask("order", {"tid": sought.reference})
        if status in (400, 404) and not self._refusal(status, said):
            return NotFound()
        return _state(said) if status == 200 else self._refusal(status, said) or Unknown(_reason("", said))

    # --- Questions to KakaoPay ----------------------------------------------------------------------------------------
    def _ask(self, what: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, said = self.provider.json(
            "POST", f"{self._url}/online/v1/payment/{what}", json={"cid": self._cid, **body}, headers=self._headers
        )
        if not isinstance(said, dict):
            raise NoAnswer("answered with a list")
        return status, said

    def _refusal(self, status: int, said: Mapping[str, Any]) -> Unknown | None:
        """`Unknown` where KakaoPay does not refuse the payment, but us."""
        if status in (401, 403):
            logger.error("%s refuses us: %s", self.name, _reason("", said))
            return Unknown(_reason("", said))
        return None


# --- What KakaoPay's words mean ---------------------------------------------------------------------------------------
def _answer(order: Mapping[str, Any], came: Return) -> Authorizing:
    if order["amount"]["total"] != came.amount or order["partner_order_id"] != came.payment:
        return _another(came)
    if order["status"] in PAID:
        return Captured(came.reference)
    if order["status"] in OVER:
        return Declined(f"PAY002: {order['status']}")
    return _waiting(order)


def _waiting(order: Mapping[str, Any]) -> ActionRequired:
    """It waits for its customer; the page was named once, when it was made ready."""
    made = datetime.fromisoformat(order["created_at"])
    return ActionRequired(order["tid"], "", (made if made.tzinfo else made.replace(tzinfo=KOREA)) + PAGE_OPEN)


def _state(order: Mapping[str, Any]) -> State:
    paid = order["amount"]["total"] if order["status"] in PAID else 0
    over = not paid and order["status"] in OVER
    return State(
        reference=order["tid"],
        authorized=paid,
        captured=paid,
        refunded=order["canceled_amount"]["total"] if paid else 0,
        voided=over,
        action=None if paid or over else _waiting(order),
    )


def _another(came: Return) -> Unknown:
    logger.error("KakaoPay's %s is not of %s, or not of %s won", came.reference, came.payment, came.amount)
    return Unknown(f"{came.reference} has another amount")


def _cancelled_by(order: Mapping[str, Any], key: str) -> bool:
    return any(
        one.get("payment_action_type") == "CANCEL" and one.get("payload") == key
        for one in order.get("payment_action_details") or []
    )


def _reason(code: str, said: Mapping[str, Any]) -> str:
    more = (said.get("extras") or {}).get("method_result_message", "")
    reason = f"{said.get('error_code')}: {said.get('error_message')} {more}".strip()
    return (f"{code}: {reason}" if code else reason)[:200]

"""NaverPay, one-time payments: reserved, paid on NaverPay's page, approved by us, cancelled in parts.

- `POST …/payments/v2/reserve` answers with `reserveId`, and the customer's page is
  `https://m.pay.naver.com/payments/{reserveId}` (https://developers.pay.naver.com/docs/v2/api,
  https://docs.pay.naver.com/docs/common/url-format). It sends the customer back to `returnUrl` with
  `resultCode=Success` and `paymentId`, or with another `resultCode`, `resultMessage` and `reserveId`
  (https://docs.pay.naver.com/docs/onetime-payment/payment/payment-auth-window).
- `POST …/v2.2/apply/payment` with `paymentId` takes the money, within ten minutes of that; nothing else does. It cannot
  be held. NaverPay asks for a timeout of 60 seconds, and answers a second request with `AlreadyComplete`
  (https://docs.pay.naver.com/docs/onetime-payment/payment/apply). The query is not trusted: the approval must have our
  name of the payment (`merchantPayKey`) and its amount.
- `POST …/v1/cancel` gives back a part or all (https://docs.pay.naver.com/docs/onetime-payment/payment/cancel), once for
  each key. With `doCompareRest` nothing is cancelled unless `expectedRestAmount` is left afterwards.
- `POST …/v2.2/list/history` lists approvals and cancellations of up to 31 days, `…/history/{paymentId}` those of one
  payment (https://docs.pay.naver.com/docs/onetime-payment/additional/payments_history). Neither can be filtered by
  `reserveId` or `merchantPayKey`. So a payment's reference is its `reserveId` and the time of the reservation until it
  is paid, and the approvals after that time are searched for its name. Once paid, its reference is the `paymentId`.
- Keys: header `X-NaverPay-Idempotency-Key`, up to 64 letters, digits, `_`, `-`; a repeated request gets the first one's
  answer with status 409 (https://docs.pay.naver.com/docs/common/idempotency). That answer may be a temporary refusal;
  then the request is sent again with the next of the operation's keys, which are numbered.
- Authentication: headers `X-Naver-Client-Id`, `X-Naver-Client-Secret`, `X-NaverPay-Chain-Id`
  (https://docs.pay.naver.com/docs/common/authentication). Tests have another host and keys of their own.
- Answers are `code`, `message`, `body` (https://docs.pay.naver.com/docs/common/response-format); here only the `code`
  counts, and the status where it is 401, 404, 409, 429 or 5xx. Amounts are in won. There are no notifications.

Not verified, for want of a contract: that every shop may reserve over HTTP (the newest pages show the JavaScript SDK,
which does the same); how long a page is open (15 minutes are assumed); how long keys are kept; and that an approval is
listed as soon as it is answered. Several of these pages were read as others quote them.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from payments.gateways.approvals import Approvals
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
)
from payments.gateways.http import Limits, NoAnswer, OneByOne, Provider

logger = logging.getLogger(__name__)

URL = "https://pay.paygate.naver.com"
HOSTS = {  # of the API, and of the page
    "production": (URL, "https://m.pay.naver.com"),
    "development": ("https://dev-pay.paygate.naver.com", "https://test-m.pay.naver.com"),
}
KOREA = ZoneInfo("Asia/Seoul")
STAMP = "%Y%m%d%H%M%S"
PAGE_OPEN, APPROVAL_OPEN = timedelta(minutes=15), timedelta(minutes=10)
LONGEST = PAGE_OPEN + APPROVAL_OPEN  # from the reservation to the approval
SKEW = timedelta(minutes=1)  # between NaverPay's clock and ours
ROWS = 50  # of the history, in one answer
AGAIN = 2  # times that a further page of the history is asked for
KEYS = 50  # of one operation, at most
RESERVED = re.compile(r"(?P<reservation>[^@]+)@(?P<made>\d{14})")
NUMBER = re.compile(r"[0-9A-Za-z]{1,50}")
KEY = re.compile(r"[0-9A-Za-z_-]{1,61}")
BUSY = {"AlreadyOnGoing", "PreCancelNotComplete", "MaintenanceOngoing", "FaultCheckOngoing", "RestAmountDiff"}
CANCELLED = {"Success", "CancelNotComplete"}  # NaverPay completes the latter by itself
KINDS = {"01": Kind.CAPTURE, "03": Kind.REFUND, "04": Kind.REFUND}  # by admissionTypeCode


class NaverGateway(OneByOne):
    """One shop (chain). Options: `client_id`, `client_secret`, `chain_id`; `mode`, "production" or "development";
    `partner_id`, where the contract names one; `url` of a stand-in; `Limits`."""

    url, zone = URL, KOREA
    capabilities = Capabilities(separate_capture=False, partial_refund=True, customer_action=True, asynchronous=False)

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        """Raises ValueError for a mode that there is not."""
        mode = options.get("mode", "production")
        if mode not in HOSTS:
            raise ValueError(f"mode {mode!r} is none of {', '.join(HOSTS)}")
        self.name = name
        self.provider = Provider(name, Limits.of(options, Limits(timeout=60)))
        api, page = (options.get("url", host) for host in HOSTS[mode])
        self._api = f"{api}/{options.get('partner_id', 'naverpay-partner')}/naverpay/payments"
        self._page = f"{page}/payments"
        self._approvals = Approvals(self._approved, keep=LONGEST + 3 * SKEW, overlap=2 * SKEW)
        self._headers = {
            "X-Naver-Client-Id": options["client_id"],
            "X-Naver-Client-Secret": options["client_secret"],
            "X-NaverPay-Chain-Id": options["chain_id"],
        }

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """NaverPay sends none. Raises `Forged`."""
        raise Forged("NaverPay sends no notifications")

    def statement(self, day: date) -> Iterator[StatementLine]:
        """The approvals and cancellations of a day in Korea. Raises `NoAnswer`."""
        for row in self._history("", startTime=f"{day:%Y%m%d}000000", endTime=f"{day:%Y%m%d}235959"):
            if kind := _happened(row):
                at = _time(row["admissionYmdt"])
                yield StatementLine(row["paymentId"], row["merchantPayKey"], kind, row["totalPayAmount"], "KRW", at)

    # --- One of a batch -----------------------------------------------------------------------------------------------
    def _authorize(self, request: Authorization) -> Authorizing:
        if request.currency != "KRW":
            return Declined(f"PAY002: NaverPay takes KRW, not {request.currency}")
        made, named = datetime.now(KOREA), f"Order {request.order_id}"
        order = {
            "modelVersion": "2",
            "merchantPayKey": request.payment,
            "productName": named,
            "productCount": 1,
            "totalPayAmount": request.amount,
            "taxScopeAmount": request.amount,
            "taxExScopeAmount": 0,
            "returnUrl": request.return_url(),
            "productItems": [
                {"categoryType": "ETC", "categoryId": "ETC", "uid": request.payment, "name": named, "count": 1}
            ],
        }
        _, said = self._ask("v2/reserve", json=order)
        if said["code"] != "Success":
            return Unknown(_reason(said)) if said["code"] in BUSY else Declined(f"PAY002: {_reason(said)}")
        action = self._waiting(f"{said['body']['reserveId']}@{made:{STAMP}}")
        return replace(action, until=min(action.until, request.until)) if request.until else action

    def _confirm(self, came: Return) -> Authorizing:
        number, result = came.parameters.get("paymentId", ""), came.parameters.get("resultCode", "")
        if result == "Success" and NUMBER.fullmatch(number):
            _, said = self._ask("v2.2/apply/payment", data={"paymentId": number})
            if said["code"] == "Success":
                return _answer(said["body"]["detail"], came)
            for row in self._history(f"/{number}"):  # refused, or approved by another request
                if _happened(row) == Kind.CAPTURE:
                    return _answer(row, came)
            return Unknown(_reason(said)) if said["code"] in BUSY else Declined(f"PAY002: {_reason(said)}")
        found = self._find(Lookup(came.payment, came.reference))
        if not isinstance(found, State):
            return found if isinstance(found, Unknown) else Unknown("the payment's number is not known")
        if found.captured:
            return Captured(found.reference) if found.captured == came.amount else _another(found.reference, came)
        if not isinstance(found.action, ActionRequired):
            return Declined("PAY002: not paid in time")
        if result not in ("", "Success"):
            return Declined(f"PAY002: {result}: {came.parameters.get('resultMessage', '')}"[:200])
        return found.action

    def _void(self, operation: Operation) -> Operating:
        """A payment that waits for its customer is over when we no longer approve it."""
        found = self._find(Lookup(operation.payment, operation.reference))
        if isinstance(found, State) and found.captured:
            return Refused("PAY003: paid, to be refunded")
        return found if isinstance(found, Unknown) else Done(operation.reference)

    def _refund(self, operation: Operation) -> Operating:
        """Cancel so much, unless this operation already did. The history is read first, and NaverPay refuses if
        another cancellation has changed the rest since."""
        found = self._find(Lookup(operation.payment, operation.reference))
        if not isinstance(found, State) or not found.captured:
            return found if isinstance(found, Unknown) else Refused("PAY003: nothing was paid")
        form = {
            "paymentId": found.reference,
            "merchantPayTransactionKey": operation.key,
            "cancelAmount": operation.amount,
            "cancelReason": (operation.reason or "cancelled").encode()[:256].decode(errors="ignore"),
            "cancelRequester": "2",  # the shop
            "taxScopeAmount": operation.amount,
            "taxExScopeAmount": 0,
            "doCompareRest": 1,
            "expectedRestAmount": max(0, found.captured - found.refunded - operation.amount),
        }
        key = operation.key if KEY.fullmatch(operation.key) else sha256(operation.key.encode()).hexdigest()[:61]
        for number in range(KEYS):
            headers = {"X-NaverPay-Idempotency-Key": f"{key}-{number}"}
            status, said = self._ask("v1/cancel", data=form, headers=headers)
            if status != 409 or said["code"] not in BUSY:
                break
        if said["code"] in CANCELLED:
            return Done(found.reference)
        return Unknown(_reason(said)) if said["code"] in BUSY else Refused(f"PAY003: {_reason(said)}")

    def _find(self, sought: Lookup) -> Finding:
        if not sought.reference:
            return NotFound()  # nobody has its page
        reserved = RESERVED.fullmatch(sought.reference)
        number = self._number(sought.payment, _time(reserved["made"])) if reserved else sought.reference
        rows = list(self._history(f"/{number}")) if NUMBER.fullmatch(number) else []
        paid = sum(row["totalPayAmount"] for row in rows if _happened(row) == Kind.CAPTURE)
        if paid:
            back = sum(row["totalPayAmount"] for row in rows if _happened(row) == Kind.REFUND)
            return State(number, paid, paid, back)
        if not reserved:
            return NotFound()
        action = self._waiting(sought.reference)
        over = action.until + APPROVAL_OPEN + SKEW < datetime.now(KOREA)
        return State(sought.reference, 0, 0, 0, voided=over, action=None if over else action)

    # --- Questions to NaverPay ----------------------------------------------------------------------------------------
    def _number(self, payment: str, made: datetime) -> str:
        """NaverPay's number of a payment that was reserved then, "" if it was not approved."""
        start, end = made - SKEW, made + LONGEST + SKEW
        if end > datetime.now(KOREA):
            return self._approvals.number(payment, start)
        return next((number for name, number, _ in self._approved(start, end) if name == payment), "")

    def _approved(self, start: datetime, end: datetime | None = None) -> Iterator[tuple[str, str, datetime]]:
        """List the approvals of a time: our name, NaverPay's number, when."""
        end = end or datetime.now(KOREA) + SKEW
        times = {"startTime": f"{start.astimezone(KOREA):{STAMP}}", "endTime": f"{end:{STAMP}}"}
        for row in self._history("", **times, approvalType="APPROVAL"):
            if _happened(row) == Kind.CAPTURE:
                yield row["merchantPayKey"], row["paymentId"], _time(row["admissionYmdt"])

    def _history(self, path: str, **asked: str) -> Iterator[dict[str, Any]]:
        for page in count(1):
            portion = {**asked, "pageNumber": page, "rowsPerPage": ROWS}
            status, said = self._again(f"v2.2/list/history{path}", portion, AGAIN if page > 1 else 0)
            if status == 404 or said["code"] == "InvalidPaymentId":
                return
            if said["code"] != "Success":
                raise NoAnswer(_reason(said))
            yield from said["body"]["list"]
            if page >= said["body"]["totalPageCount"]:
                return

    def _again(self, path: str, portion: Mapping[str, Any], times: int) -> tuple[int, dict[str, Any]]:
        """A page of a list, asked for again so many times: if one of many pages failed, all would be in vain."""
        for _ in range(times):
            with suppress(NoAnswer):
                return self._ask(path, json=portion)
        return self._ask(path, json=portion)

    def _ask(self, path: str, headers: Mapping[str, str] | None = None, **given: Any) -> tuple[int, dict[str, Any]]:
        """The status, and what NaverPay says. Raises `NoAnswer`, also where it does not refuse the payment, but us."""
        status, said = self.provider.json(
            "POST", f"{self._api}/{path}", headers=self._headers | dict(headers or {}), **given
        )
        if not isinstance(said, dict):
            raise NoAnswer("answered with a list")
        if status in (401, 403) or said.get("code") == "InvalidMerchant":
            logger.error("%s refuses us: %s", self.name, _reason(said))
            raise NoAnswer(_reason(said))
        return status, said

    def _waiting(self, reference: str) -> ActionRequired:
        reservation, _, made = reference.partition("@")
        return ActionRequired(reference, f"{self._page}/{reservation}", _time(made) + PAGE_OPEN)


# --- What NaverPay's words mean ---------------------------------------------------------------------------------------
def _answer(approval: Mapping[str, Any], came: Return) -> Authorizing:
    if approval["totalPayAmount"] != came.amount or approval["merchantPayKey"] != came.payment:
        return _another(approval["paymentId"], came)
    return Captured(approval["paymentId"])


def _another(number: str, came: Return) -> Unknown:
    logger.error("NaverPay's %s is not of %s, or not of %s won", number, came.payment, came.amount)
    return Unknown(f"{number} has another amount")


def _happened(row: Mapping[str, Any]) -> Kind | None:
    return KINDS.get(row["admissionTypeCode"]) if row["admissionState"] == "SUCCESS" else None


def _time(stamp: str) -> datetime:
    return datetime.strptime(stamp, STAMP).replace(tzinfo=KOREA)


def _reason(said: Mapping[str, Any]) -> str:
    return f"{said.get('code')}: {said.get('message')}"[:180]

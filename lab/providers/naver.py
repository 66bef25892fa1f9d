"""A stand-in for NaverPay's one-time payments: reserve, apply, cancel, history, and its page.

Written from https://developers.pay.naver.com/docs/v2/api and https://docs.pay.naver.com/docs/onetime-payment, as the
adapter. As there, a repeated request gets 409 and the first one's answer, whatever that was, and there are no
notifications. The HTTP status of each error is its own choice.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any
from zoneinfo import ZoneInfo

from lab.providers.books import CAPTURE, REFUND
from lab.providers.server import Problem, Request, Response, Route, StandIn, go, page

CLIENT_ID, CLIENT_SECRET, CHAIN_ID = "stand_in", "stand_in_secret", "stand_in_chain"
PARTNER = "naverpay-partner"
KOREA = ZoneInfo("Asia/Seoul")
STAMP = "%Y%m%d%H%M%S"
PAGE_OPEN, APPROVAL_OPEN = timedelta(minutes=15), timedelta(minutes=10)
LONGEST_HISTORY = timedelta(days=31)
LEAST = 100  # won
BYTES = {"merchantPayKey": 64, "productName": 128, "returnUrl": 1024}
ITEM = ("categoryType", "categoryId", "uid", "name", "count")
CANCEL = ("paymentId", "cancelAmount", "cancelReason", "cancelRequester", "taxScopeAmount", "taxExScopeAmount")
LISTED = {"ALL": ("01", "03", "04"), "APPROVAL": ("01",), "CANCEL": ("03", "04"), "CANCEL_FAIL": ()}


class Naver(StandIn):
    """One shop (chain). `refusals` are the codes that refuse the next approvals ("confirm") or cancellations."""

    name = "naver"

    def __init__(self, **given: Any) -> None:
        self.refusals: dict[str, deque[str]] = {"confirm": deque(), "refund": deque()}
        super().__init__(**given)

    def routes(self) -> list[Route]:
        of = f"/{PARTNER}/naverpay/payments"
        return [
            Route("POST", f"{of}/v2/reserve", "authorize", lambda r: self._once(r, self._reserve)),
            Route("POST", f"{of}/v2.2/apply/payment", "confirm", lambda r: self._once(r, self._apply)),
            Route("POST", f"{of}/v1/cancel", "refund", lambda r: self._once(r, self._cancel)),
            Route("POST", f"{of}/v2.2/list/history(?:/(\\w+))?", "find", self._history),
            Route("GET", "/payments/(\\w+)", "page", self._page),
            Route("POST", "/payments/(\\w+)", "page", self._clicked),
        ]

    def check(self, request: Request) -> None:
        asked = (request.headers.get(f"x-naver{of}") for of in ("-client-id", "-client-secret", "pay-chain-id"))
        if tuple(asked) != (CLIENT_ID, CLIENT_SECRET, CHAIN_ID):
            raise _refused("InvalidMerchant", "유효하지 않은 가맹점입니다.", 401)

    # --- The API ------------------------------------------------------------------------------------------------------
    def _reserve(self, request: Request) -> Response:
        asked = request.json
        for name, length in BYTES.items():
            if not asked.get(name):
                raise _refused("RequireParameter", name, 400)
            if len(str(asked[name]).encode()) > length:
                raise _refused("InvalidParameter", f"{name}: {length} bytes", 400)
        amounts = [asked.get(f"{one}Amount") for one in ("totalPay", "taxScope", "taxExScope")]
        total, *parts = [one if isinstance(one, int) and one >= 0 else -1 for one in amounts]
        if min(total, *parts) < 0 or total != sum(parts):
            raise _refused("InvalidParameter", "taxScopeAmount + taxExScopeAmount != totalPayAmount", 400)
        if total < LEAST:
            raise _refused("InvalidParameter", "minAmountUnder", 400)
        items = asked.get("productItems") or []
        if not items or not all(item.get(name) for item in items for name in ITEM):
            raise _refused("RequireParameter", "productItems", 400)
        if asked.get("productCount") != sum(item["count"] for item in items):
            raise _refused("InvalidParameter", "productCount", 400)
        reservation = {"reserveId": f"R{token_hex(12)}", "status": "OPEN", "made": _now(), **asked}
        self.books.put("reservation", reservation["reserveId"], reservation)
        return _success({"reserveId": reservation["reserveId"]})

    def _apply(self, request: Request) -> Response:
        payment = self._known(request.form.get("paymentId", ""))
        self._refuse("confirm")
        if payment["rows"]:
            raise _refused("AlreadyComplete", "이미 해당 결제 번호로 결제가 완료되었습니다.")
        if _time(payment["authenticated"]) + APPROVAL_OPEN < datetime.now(KOREA):
            raise _refused("TimeExpired", "결제 승인 가능 시간이 초과되었습니다.")
        row = self._moved(payment, "01", payment["totalPayAmount"])
        return _success({"paymentId": payment["paymentId"], "detail": row})

    def _cancel(self, request: Request) -> Response:
        asked = request.form
        if missing := [name for name in CANCEL if not asked.get(name)]:
            raise _refused("RequireParameter", ", ".join(missing), 400)
        if len(asked["cancelReason"].encode()) > 256 or asked["cancelRequester"] not in ("1", "2"):
            raise _refused("InvalidParameter", "cancelReason, cancelRequester", 400)
        payment = self._known(asked["paymentId"])
        if refusal := self._refuse("refund", but="CancelNotComplete"):
            self._moved(payment, "04", int(asked["cancelAmount"]))  # NaverPay completes it by itself
            raise _refused(refusal, "취소 처리가 완료되지 않았지만, 자동 취소 재처리 예정입니다.")
        amount, rest = int(asked["cancelAmount"]), _rest(payment)
        if int(asked["taxScopeAmount"]) + int(asked["taxExScopeAmount"]) != amount or amount <= 0:
            raise _refused("TaxScopeAmountError", "과세 대상 금액 + 면세 대상 금액 = 취소 요청 금액")
        if payment["rows"] and not rest:
            raise _refused("AlreadyCanceled", "이미 전체 취소된 결제입니다.")
        if amount > rest:
            raise _refused("OverRemainAmount", "취소 요청 금액이 잔여 결제 금액을 초과하였습니다.")
        if asked.get("doCompareRest") == "1" and rest - amount != int(asked.get("expectedRestAmount", -1)):
            raise _refused("RestAmountDiff", "예상 잔여금액과 네이버페이의 잔여금액이 일치하지 않습니다.")
        whole = amount == payment["totalPayAmount"]
        row = self._moved(payment, "03" if whole else "04", amount)
        return _success(
            {
                "paymentId": payment["paymentId"],
                "payHistId": row["payHistId"],
                "primaryPayMeans": "CARD",
                "primaryPayCancelAmount": amount,
                "primaryPayRestAmount": rest - amount,
                "npointCancelAmount": 0,
                "npointRestAmount": 0,
                "cancelYmdt": row["admissionYmdt"],
                "totalRestAmount": rest - amount,
            }
        )

    def _history(self, request: Request) -> Response:
        asked, number = request.json, request.of[0] or ""
        size, at = asked.get("rowsPerPage", 20), asked.get("pageNumber", 1)
        if not 1 <= size <= 100 or asked.get("approvalType", "ALL") not in LISTED:
            raise _refused("InvalidParameter", "rowsPerPage, approvalType", 400)
        payments = [self.books.get("payment", number)] if number else self.books.all("payment")
        rows = [row for payment in payments if payment for row in payment["rows"]]
        if not number:
            start, end = (str(asked.get(name, "")) for name in ("startTime", "endTime"))
            if not start or not end or _time(end) - _time(start) > LONGEST_HISTORY:
                raise _refused("TimeConditionError", "검색 기간은 31일 이내여야 합니다.")
            rows = [row for row in rows if start <= row["admissionYmdt"] <= end]
        wanted = LISTED[asked.get("approvalType", "ALL")]
        rows = sorted((row for row in rows if row["admissionTypeCode"] in wanted), key=lambda row: row["payHistId"])
        shown = rows[(at - 1) * size : at * size]
        return _success(
            {
                "list": shown,
                "responseCount": len(shown),
                "totalCount": len(rows),
                "totalPageCount": -(-len(rows) // size),
                "currentPageNumber": at,
            }
        )

    # --- The page -----------------------------------------------------------------------------------------------------
    def _page(self, request: Request) -> Response:
        reservation = self._reserved(request)
        if reservation["status"] != "OPEN":
            return page("네이버페이", f"이 결제는 {reservation['status']} 상태입니다.", {})
        text = f"{reservation['productName']}: {reservation['totalPayAmount']:,}원"
        return page("네이버페이", text, {"pay": "결제하기 · Pay", "cancel": "취소 · Cancel"})

    def _clicked(self, request: Request) -> Response:
        reservation = self._reserved(request)
        back, open_, known = reservation["returnUrl"], reservation["status"] == "OPEN", reservation["reserveId"]
        if not open_ or request.form.get("action") != "pay":
            code, message = ("UserCancel", "userCancel") if open_ else ("TimeExpired", "paymentTimeExpire")
            self.books.put("reservation", known, reservation | {"status": "CANCELLED"})
            return go(back, resultCode=code, resultMessage=message, reserveId=known)
        number = self._new_number()
        payment = {
            "paymentId": number,
            "authenticated": _now(),
            "rows": [],
            **{name: reservation[name] for name in ("merchantPayKey", "productName")},
            "totalPayAmount": reservation["totalPayAmount"],
        }
        self.books.put("payment", number, payment)
        self.books.put("reservation", known, reservation | {"status": "PAID"})
        return go(back, resultCode="Success", paymentId=number)

    # --- The rest -----------------------------------------------------------------------------------------------------
    def _once(self, request: Request, act: Callable[[Request], Response]) -> Response:
        """Act once per key; a repeated request gets the first one's answer, with 409."""
        key = request.headers.get("x-naverpay-idempotency-key", "")
        if not key:
            return act(request)
        if len(key) > 64:
            raise _refused("InvalidParameter", "X-NaverPay-Idempotency-Key: 64", 400)
        known = self.books.get("key", f"{request.path} {key}")
        if known:
            return Response(known, 409, (("X-NaverPay-Idempotency-Key", key),))
        try:
            response = act(request)
        except Problem as problem:
            response = problem.response
        self.books.put("key", f"{request.path} {key}", response.body)
        return response._replace(headers=(("X-NaverPay-Idempotency-Key", key),))

    def _refuse(self, operation: str, *, but: str = "") -> str:
        """Raise the next planned refusal, if any; but return the code `but`."""
        if not self.refusals[operation]:
            return ""
        if (code := self.refusals[operation].popleft()) != but:
            raise _refused(code, "planned")
        return code

    def _known(self, number: str) -> dict[str, Any]:
        payment: dict[str, Any] | None = self.books.get("payment", number)
        if not payment:
            raise _refused("InvalidPaymentId", "유효하지 않은 네이버페이 결제번호입니다.")
        return payment

    def _reserved(self, request: Request) -> dict[str, Any]:
        reservation: dict[str, Any] | None = self.books.get("reservation", request.of[0])
        if not reservation:
            raise _refused("Fail", "no such reservation", 404)
        if reservation["status"] == "OPEN" and _time(reservation["made"]) + PAGE_OPEN < datetime.now(KOREA):
            return reservation | {"status": "EXPIRED"}
        return reservation

    def _moved(self, payment: dict[str, Any], code: str, amount: int) -> dict[str, Any]:
        """Record an approval or a cancellation; return its row in the history."""
        row = {
            "paymentId": payment["paymentId"],
            "payHistId": self._new_number(),
            "merchantPayKey": payment["merchantPayKey"],
            "productName": payment["productName"],
            "admissionTypeCode": code,
            "admissionState": "SUCCESS",
            "admissionYmdt": _now(),
            "totalPayAmount": amount,
            "primaryPayAmount": amount,
            "npointPayAmount": 0,
            "taxScopeAmount": amount,
            "taxExScopeAmount": 0,
            "primaryPayMeans": "CARD",
        }
        payment["rows"].append(row)
        self.books.put("payment", payment["paymentId"], payment)
        booked = CAPTURE if code == "01" else REFUND
        self.books.enter(booked, payment["paymentId"], payment["merchantPayKey"], amount, "KRW")
        return row

    def _new_number(self) -> str:
        """The next number, in NaverPay's format."""
        last = (self.books.get("last", "number") or 1_000_000_000) + 1
        self.books.put("last", "number", last)
        return f"{datetime.now(KOREA):%Y%m%d}NP{last}"


def _rest(payment: dict[str, Any]) -> int:
    return sum(row["totalPayAmount"] * (1 if row["admissionTypeCode"] == "01" else -1) for row in payment["rows"])


def _success(body: dict[str, Any]) -> Response:
    return Response({"code": "Success", "message": "성공", "body": body})


def _refused(code: str, message: str, status: int = 200) -> Problem:
    return Problem(status, {"code": code, "message": message})


def _now() -> str:
    return datetime.now(KOREA).strftime(STAMP)


def _time(stamp: str) -> datetime:
    return datetime.strptime(stamp, STAMP).replace(tzinfo=KOREA)

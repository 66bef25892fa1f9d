"""A stand-in for Toss Payments: payments on a page, confirmation, cancellations, virtual accounts, notifications.

Written from https://docs.tosspayments.com/reference (Payment, confirm, cancel, transactions),
https://docs.tosspayments.com/guides/using-api/idempotency-key, https://docs.tosspayments.com/reference/error-codes and
https://docs.tosspayments.com/en/webhooks. A deposit is made with the button of the account's page,
`/bank/{paymentKey}`.
"""

import base64
import re
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any
from zoneinfo import ZoneInfo

from lab.providers.books import CAPTURE, REFUND
from lab.providers.server import Problem, Request, Response, Route, StandIn, go, page

SECRET_KEY = "test_sk_stand_in"  # noqa: S105 # nosec B105
KOREA = ZoneInfo("Asia/Seoul")
PAGE_OPEN, CONFIRM_WITHIN, DEPOSIT_WITHIN = timedelta(minutes=30), timedelta(minutes=10), timedelta(days=7)
METHODS = {"CARD": "카드", "카드": "카드", "VIRTUAL_ACCOUNT": "가상계좌", "가상계좌": "가상계좌"}


class Toss(StandIn):
    """One account (MID)."""

    name = "toss"

    def routes(self) -> list[Route]:
        of = "/v1/payments"
        return [
            Route("POST", of, "authorize", lambda r: self._keyed(r, self._create)),
            Route("POST", f"{of}/confirm", "confirm", lambda r: self._keyed(r, self._confirm)),
            Route("GET", f"{of}/orders/([^/]+)", "find", lambda r: Response(self._of_order(r.of[0]))),
            Route("GET", f"{of}/([^/]+)", "find", lambda r: Response(self._payment(r.of[0]))),
            Route("POST", f"{of}/([^/]+)/cancel", "refund", lambda r: self._keyed(r, self._cancel)),
            Route("GET", "/v1/transactions", "statement", self._transactions),
            Route("GET", "/pay/(\\w+)", "page", self._page),
            Route("POST", "/pay/(\\w+)", "page", self._clicked),
            Route("GET", "/bank/(\\w+)", "page", self._bank),
            Route("POST", "/bank/(\\w+)", "page", self._deposit),
        ]

    def check(self, request: Request) -> None:
        expected = base64.b64encode(f"{SECRET_KEY}:".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            raise _error(401, "UNAUTHORIZED_KEY", "인증되지 않은 시크릿 키 혹은 클라이언트 키 입니다.")

    def _keyed(self, request: Request, act: Any) -> Response:
        key = request.headers.get("idempotency-key", "")
        if len(key) > 300:
            raise _error(400, "INVALID_IDEMPOTENCY_KEY", "멱등키는 300자 이하여야 합니다.")
        conflict = _error(400, "INVALID_REQUEST", "같은 멱등키로 다른 요청을 보냈습니다.")
        return self.once(request, f"{request.path} {key}" if key else "", lambda: act(request), conflict=conflict)

    # --- Payments -----------------------------------------------------------------------------------------------------
    def _create(self, request: Request) -> Response:
        asked = request.json
        _amount(asked.get("amount"))
        if not re.fullmatch("[A-Za-z0-9_=-]{6,64}", str(asked.get("orderId", ""))):
            raise _error(400, "INVALID_ORDER_ID", "주문번호는 6자 이상 64자 이하여야 합니다.")
        if asked.get("method") not in METHODS or not asked.get("successUrl") or not asked.get("failUrl"):
            raise _error(400, "INVALID_REQUEST", "잘못된 요청입니다.")
        if self.books.get("order", asked["orderId"]):
            raise _error(400, "DUPLICATED_ORDER_ID", "이미 승인 및 취소가 진행된 중복된 주문번호 입니다.")
        key = f"tviva{datetime.now(KOREA):%Y%m%d%H%M%S}{token_hex(4)}"
        payment = {
            "version": "2022-11-16",
            "mId": "tvivarepublica",
            "paymentKey": key,
            "orderId": asked["orderId"],
            "orderName": asked.get("orderName", ""),
            "currency": "KRW",
            "method": METHODS[asked["method"]],
            "totalAmount": asked["amount"],
            "balanceAmount": asked["amount"],
            "status": "READY",
            "requestedAt": _now(),
            "approvedAt": None,
            "lastTransactionKey": None,
            "checkout": {"url": f"{self.url}/pay/{key}"},
            "virtualAccount": None,
            "cancels": None,
            "failure": None,
            "successUrl": asked["successUrl"],
            "failUrl": asked["failUrl"],
        }
        self.books.put("order", asked["orderId"], key)
        return Response(self._keep(payment))

    def _confirm(self, request: Request) -> Response:
        asked = request.json
        payment = self._payment(str(asked.get("paymentKey")))
        if payment["status"] in ("DONE", "WAITING_FOR_DEPOSIT", "CANCELED", "PARTIAL_CANCELED"):
            raise _error(400, "ALREADY_PROCESSED_PAYMENT", "이미 처리된 결제 입니다.")
        if payment["status"] != "IN_PROGRESS":
            raise _error(404, "NOT_FOUND_PAYMENT_SESSION", "결제 시간이 만료되어 결제 진행 데이터가 존재하지 않습니다.")
        if asked.get("orderId") != payment["orderId"] or asked.get("amount") != payment["totalAmount"]:
            raise _error(403, "FORBIDDEN_REQUEST", "허용되지 않은 요청입니다.")
        if payment["method"] == "가상계좌":
            payment["status"], payment["secret"] = "WAITING_FOR_DEPOSIT", f"ps_{token_hex(12)}"
            payment["virtualAccount"] = {
                "accountType": "일반",
                "accountNumber": f"X{int(token_hex(5), 16):013d}",
                "bankCode": "20",
                "customerName": "김토스",
                "dueDate": (datetime.now(KOREA) + DEPOSIT_WITHIN).isoformat(timespec="seconds"),
                "expired": False,
                "settlementStatus": "INCOMPLETED",
                "refundStatus": "NONE",
                "refundReceiveAccount": {"bankCode": "20", "accountNumber": "1002003004005", "holderName": "김토스"},
            }
        else:
            self._take(payment)
        return Response(self._keep(payment))

    def _take(self, payment: dict[str, Any]) -> None:
        payment["status"], payment["approvedAt"] = "DONE", _now()
        self._move(payment, CAPTURE, payment["totalAmount"], "DONE")

    def _cancel(self, request: Request) -> Response:
        asked, payment = request.json, self._payment(request.of[0])
        if not 0 < len(asked.get("cancelReason") or "") <= 200:
            raise _error(400, "INVALID_REQUEST", "cancelReason은 200자 이하여야 합니다.")
        if payment["status"] == "CANCELED":
            raise _error(400, "ALREADY_CANCELED_PAYMENT", "이미 취소된 결제 입니다.")
        if payment["status"] not in ("DONE", "PARTIAL_CANCELED", "WAITING_FOR_DEPOSIT"):
            raise _error(403, "NOT_CANCELABLE_PAYMENT", "취소 할 수 없는 결제 입니다.")
        amount = asked.get("cancelAmount", payment["balanceAmount"])
        _amount(amount)
        if amount > payment["balanceAmount"]:
            raise _error(403, "NOT_CANCELABLE_AMOUNT", "취소 할 수 없는 금액 입니다.")
        paid = payment["status"] != "WAITING_FOR_DEPOSIT"
        if paid and payment["virtualAccount"] and not asked.get("refundReceiveAccount"):
            raise _error(400, "INVALID_REFUND_ACCOUNT_INFO", "환불 계좌번호와 예금주명이 일치하지 않습니다.")
        payment["balanceAmount"] -= amount
        payment["status"] = "PARTIAL_CANCELED" if payment["balanceAmount"] else "CANCELED"
        cancel = {"cancelAmount": amount, "cancelReason": asked["cancelReason"], "canceledAt": _now()}
        payment["cancels"] = [*(payment["cancels"] or []), cancel]
        if paid:
            self._move(payment, REFUND, amount, payment["status"])
            cancel["transactionKey"] = payment["lastTransactionKey"]
        return Response(self._keep(payment))

    def _move(self, payment: dict[str, Any], kind: str, amount: int, status: str) -> None:
        self.books.enter(kind, payment["paymentKey"], payment["orderId"], amount, "KRW")
        moved = {
            "mId": payment["mId"],
            "transactionKey": token_hex(16).upper(),
            "paymentKey": payment["paymentKey"],
            "orderId": payment["orderId"],
            "method": payment["method"],
            "status": status,
            "transactionAt": _now(),
            "currency": "KRW",
            "amount": amount,
        }
        payment["lastTransactionKey"] = moved["transactionKey"]
        self.books.put("moved", f"{self.books.count('moved'):09d}", moved)

    def _transactions(self, request: Request) -> Response:
        first, last = (datetime.fromisoformat(request.query[name]) for name in ("startDate", "endDate"))
        moved = [
            one
            for one in self.books.all("moved")
            if first <= datetime.fromisoformat(one["transactionAt"]).replace(tzinfo=None) <= last
        ]
        keys = [one["transactionKey"] for one in moved]
        after = keys.index(request.query["startingAfter"]) + 1 if "startingAfter" in request.query else 0
        return Response(moved[after : after + min(int(request.query.get("limit", 100)), 5_000)])

    # --- Pages --------------------------------------------------------------------------------------------------------
    def _page(self, request: Request) -> Response:
        payment = self._payment(request.of[0])
        if payment["status"] != "READY":
            return page("토스페이먼츠", f"이 결제는 {payment['status']} 상태입니다.", {})
        text = f"{payment['orderName']}: {payment['totalAmount']:,}원 ({payment['method']})"
        return page("토스페이먼츠", text, {"pay": "결제하기 · Pay", "cancel": "취소 · Cancel"})

    def _clicked(self, request: Request) -> Response:
        payment = self._payment(request.of[0])
        order = payment["orderId"]
        if payment["status"] != "READY" or request.form.get("action") != "pay":
            return go(
                payment["failUrl"], code="PAY_PROCESS_CANCELED", message="사용자가 결제를 취소하였습니다", orderId=order
            )
        payment["status"], payment["authenticatedAt"] = "IN_PROGRESS", _now()
        self._keep(payment)
        return go(
            payment["successUrl"], paymentType="NORMAL", orderId=order, paymentKey=payment["paymentKey"],
            amount=str(payment["totalAmount"]),
        )  # fmt: skip

    def _bank(self, request: Request) -> Response:
        payment = self._payment(request.of[0])
        if payment["status"] != "WAITING_FOR_DEPOSIT":
            return page("은행", f"이 계좌는 {payment['status']} 상태입니다.", {})
        text = f"{payment['virtualAccount']['accountNumber']}: {payment['totalAmount']:,}원"
        return page("은행", text, {"deposit": "입금하기 · Deposit"})

    def _deposit(self, request: Request) -> Response:
        payment = self._payment(request.of[0])
        if payment["status"] == "WAITING_FOR_DEPOSIT":
            self._take(payment)
            self._keep(payment)
            said = {"createdAt": _now(), "secret": payment["secret"], "orderId": payment["orderId"], "status": "DONE"}
            self.tell(said | {"transactionKey": payment["lastTransactionKey"]}, _numbered)
        return go(f"{self.url}/bank/{payment['paymentKey']}")

    # --- The rest -----------------------------------------------------------------------------------------------------
    def _of_order(self, order: str) -> dict[str, Any]:
        return self._payment(self.books.get("order", order) or "")

    def _payment(self, key: str) -> dict[str, Any]:
        payment: dict[str, Any] | None = self.books.get("payment", key)
        if not payment:
            raise _error(404, "NOT_FOUND_PAYMENT", "존재하지 않는 결제 정보 입니다.")
        now = datetime.now(KOREA)
        late = (
            (payment["status"] == "READY" and now > _time(payment["requestedAt"]) + PAGE_OPEN)
            or (payment["status"] == "IN_PROGRESS" and now > _time(payment["authenticatedAt"]) + CONFIRM_WITHIN)
            or (payment["status"] == "WAITING_FOR_DEPOSIT" and now > _time(payment["virtualAccount"]["dueDate"]))
        )
        if late:
            payment["status"] = "EXPIRED"
            payment["failure"] = {"code": "EXPIRED_PAYMENT", "message": "결제가 만료되었습니다. 다시 시도해주세요."}
            self._keep(payment)
        return payment

    def _keep(self, payment: dict[str, Any]) -> dict[str, Any]:
        known = self.books.get("payment", payment["paymentKey"])
        self.books.put("payment", payment["paymentKey"], payment)
        if known and known["status"] != payment["status"]:
            told = {name: value for name, value in payment.items() if name != "secret"}
            self.tell({"eventType": "PAYMENT_STATUS_CHANGED", "createdAt": _now(), "data": told}, _numbered)
        return payment


def _numbered(_body: bytes) -> dict[str, str]:
    return {"tosspayments-webhook-transmission-id": f"whtrans_{token_hex(12)}"}


def _amount(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _error(400, "INVALID_REQUEST", "잘못된 요청입니다. (amount)")


def _error(status: int, code: str, message: str) -> Problem:
    return Problem(status, {"code": code, "message": message})


def _now() -> str:
    return datetime.now(KOREA).isoformat(timespec="seconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)

"""A stand-in for KakaoPay: ready, approve, order, cancel, and its page.

Written from https://developers.kakaopay.com/docs/payment/online/single-payment,
https://developers.kakao.com/docs/latest/ko/kakaopay/single-payment and
https://developers.kakao.com/docs/latest/ko/kakaopay/cancellation. As there, it has neither idempotency keys nor
notifications. Its error codes have the same form, but are its own.
"""

from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any
from zoneinfo import ZoneInfo

from lab.providers.books import CAPTURE, REFUND
from lab.providers.server import Problem, Request, Response, Route, StandIn, go, page

SECRET_KEY = "DEV_stand_in"  # noqa: S105 # nosec B105
CID = "TC0ONETIME"
KOREA = ZoneInfo("Asia/Seoul")
PAGE_OPEN = timedelta(minutes=15)
LENGTHS = {"partner_order_id": 100, "partner_user_id": 100, "item_name": 100, "approval_url": 255, "cancel_url": 255}


class Kakao(StandIn):
    """One shop (CID)."""

    name = "kakao"

    def routes(self) -> list[Route]:
        of = "/online/v1/payment"
        return [
            Route("POST", f"{of}/ready", "authorize", self._ready),
            Route("POST", f"{of}/approve", "confirm", self._approve),
            Route("POST", f"{of}/order", "find", lambda r: Response(_shown(self._order(r)))),
            Route("POST", f"{of}/cancel", "refund", self._cancel),
            Route("GET", "/pay/(\\w+)", "page", self._page),
            Route("POST", "/pay/(\\w+)", "page", self._clicked),
        ]

    def check(self, request: Request) -> None:
        if request.headers.get("authorization") != f"SECRET_KEY {SECRET_KEY}":
            raise _error(-401, "invalid secret key", 401)
        if request.json.get("cid") != CID:
            raise _error(-2, "invalid cid")

    # --- The API ------------------------------------------------------------------------------------------------------
    def _ready(self, request: Request) -> Response:
        asked = request.json
        for name, length in LENGTHS.items():
            if not 0 < len(str(asked.get(name) or "")) <= length:
                raise _error(-2, f"parameter '{name}' is missing or longer than {length}")
        for name in ("quantity", "total_amount", "tax_free_amount"):
            if not isinstance(asked.get(name), int) or asked[name] < (name != "tax_free_amount"):
                raise _error(-2, f"parameter '{name}' is no number")
        tid = f"T{token_hex(10)}"[:20]
        order = {
            "tid": tid,
            "cid": CID,
            "status": "READY",
            "partner_order_id": asked["partner_order_id"],
            "partner_user_id": asked["partner_user_id"],
            "item_name": asked["item_name"],
            "quantity": asked["quantity"],
            "amount": {"total": asked["total_amount"], "tax_free": asked["tax_free_amount"]},
            "canceled_amount": {"total": 0},
            "cancel_available_amount": {"total": 0},
            "created_at": _now(),
            "approved_at": None,
            "payment_action_details": [],
            "urls": {name: asked[f"{name}_url"] for name in ("approval", "cancel", "fail")},
        }
        self._keep(order)
        url = f"{self.url}/pay/{tid}"
        return Response(
            {
                "tid": tid,
                "next_redirect_pc_url": url,
                "next_redirect_mobile_url": url,
                "created_at": order["created_at"],
            }
        )

    def _approve(self, request: Request) -> Response:
        asked, order = request.json, self._order(request)
        if order["status"] != "AUTH_PASSWORD" or asked.get("pg_token") != order.get("token"):
            raise _error(-780, "approval failure!")
        for name in ("partner_order_id", "partner_user_id"):
            if asked.get(name) != order[name]:
                raise _error(-2, f"'{name}' is another one")
        if asked.get("total_amount", order["amount"]["total"]) != order["amount"]["total"]:
            raise _error(-2, "'total_amount' is another one")
        order["status"], order["approved_at"] = "SUCCESS_PAYMENT", _now()
        order["cancel_available_amount"]["total"] = order["amount"]["total"]
        self._acted(order, "PAYMENT", order["amount"]["total"], "")
        return Response(_shown(order))

    def _cancel(self, request: Request) -> Response:
        asked, order = request.json, self._order(request)
        amount, available = asked.get("cancel_amount"), order["cancel_available_amount"]["total"]
        if order["status"] not in ("SUCCESS_PAYMENT", "PART_CANCEL_PAYMENT"):
            raise _error(-781, "cancel failure!")
        if not isinstance(amount, int) or not 0 < amount <= available:
            raise _error(-781, "cancel failure!")
        if asked.get("cancel_available_amount", available) != available:
            raise _error(-781, "cancel failure!")
        if len(asked.get("payload") or "") > 200:
            raise _error(-2, "parameter 'payload' is longer than 200")
        order["canceled_amount"]["total"] += amount
        order["cancel_available_amount"]["total"] -= amount
        order["status"] = "PART_CANCEL_PAYMENT" if order["cancel_available_amount"]["total"] else "CANCEL_PAYMENT"
        self._acted(order, "CANCEL", amount, asked.get("payload") or "")
        return Response(_shown(order))

    # --- The page -----------------------------------------------------------------------------------------------------
    def _page(self, request: Request) -> Response:
        order = self._known(request.of[0])
        if order["status"] != "READY":
            return page("카카오페이", f"이 결제는 {order['status']} 상태입니다.", {})
        text = f"{order['item_name']}: {order['amount']['total']:,}원"
        return page("카카오페이", text, {"pay": "결제하기 · Pay", "cancel": "취소 · Cancel"})

    def _clicked(self, request: Request) -> Response:
        order = self._known(request.of[0])
        if order["status"] != "READY" or request.form.get("action") != "pay":
            if order["status"] == "READY":
                order["status"] = "QUIT_PAYMENT"
                self._keep(order)
            return go(order["urls"]["cancel"])
        order["status"], order["token"] = "AUTH_PASSWORD", token_hex(10)
        self._keep(order)
        return go(order["urls"]["approval"], pg_token=order["token"])

    # --- The rest -----------------------------------------------------------------------------------------------------
    def _order(self, request: Request) -> dict[str, Any]:
        return self._known(str(request.json.get("tid")))

    def _known(self, tid: str) -> dict[str, Any]:
        order: dict[str, Any] | None = self.books.get("order", tid)
        if not order:
            raise _error(-721, "no such tid")
        late = datetime.now(KOREA) > datetime.fromisoformat(order["created_at"]).replace(tzinfo=KOREA) + PAGE_OPEN
        if late and order["status"] in ("READY", "AUTH_PASSWORD"):
            order["status"] = "FAIL_PAYMENT"
            self._keep(order)
        return order

    def _acted(self, order: dict[str, Any], kind: str, amount: int, payload: str) -> None:
        action = {"aid": f"A{token_hex(9)}", "payment_action_type": kind, "amount": amount, "approved_at": _now()}
        order["payment_action_details"].append(action | {"payload": payload})
        booked = CAPTURE if kind == "PAYMENT" else REFUND
        self.books.enter(booked, order["tid"], order["partner_order_id"], amount, "KRW")
        self._keep(order)

    def _keep(self, order: dict[str, Any]) -> None:
        self.books.put("order", order["tid"], order)


def _shown(order: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in order.items() if name not in ("urls", "token")}


def _error(code: int, message: str, status: int = 400) -> Problem:
    return Problem(status, {"error_code": code, "error_message": message})


def _now() -> str:
    return datetime.now(KOREA).replace(tzinfo=None).isoformat(timespec="seconds")

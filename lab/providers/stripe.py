"""A stand-in for Stripe: PaymentIntents, Checkout Sessions, refunds, balance transactions, signed webhooks.

Written from https://docs.stripe.com/api (PaymentIntents, Sessions, Refunds, BalanceTransactions, errors, idempotency),
https://docs.stripe.com/payments/paymentintents/lifecycle and https://docs.stripe.com/webhooks. The cards are those of
https://docs.stripe.com/testing that `CARDS` lists. As there, a search does not know the last minute, a Checkout Session
stays open when a card is declined, and its PaymentIntent can be cancelled only while its money is held
(https://docs.stripe.com/api/payment_intents/cancel).
"""

import hmac
import re
import time
from hashlib import sha256
from secrets import token_hex
from typing import Any

from lab.providers.books import AUTHORIZE, CAPTURE, REFUND, VOID
from lab.providers.server import Problem, Request, Response, Route, StandIn, go, page

SECRET_KEY = "sk_test_stand_in"  # noqa: S105 # nosec B105
WEBHOOK_SECRET = "whsec_of_the_stand_in_which_is_no_secret"  # noqa: S105 # nosec B105
CARDS = {  # the outcome of a confirmation
    "pm_card_visa": "",
    "pm_card_mastercard": "",
    "pm_card_visa_chargeDeclined": "card_declined",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "card_declined",
    "pm_card_chargeDeclinedExpiredCard": "expired_card",
    "pm_card_authenticationRequired": "authentication_required",
}
NOT_SEARCHABLE_FOR = 60.0  # seconds
OPEN_FOR = 24 * 3600  # seconds, a Checkout Session


class Stripe(StandIn):
    """One account. Test mode: no other key than `SECRET_KEY` is known."""

    name = "stripe"

    def routes(self) -> list[Route]:
        intent, session = "/v1/payment_intents", "/v1/checkout/sessions"
        return [
            Route("POST", intent, "authorize", lambda r: self._keyed(r, self._create)),
            Route("GET", intent, "find", lambda r: self._list(r, self.books.all("intent"))),
            Route("GET", f"{intent}/search", "find", self._search),
            Route("GET", f"{intent}/([^/]+)", "find", lambda r: Response(self._intent(r.of[0]))),
            Route("POST", f"{intent}/([^/]+)/capture", "capture", lambda r: self._keyed(r, self._capture)),
            Route("POST", f"{intent}/([^/]+)/cancel", "void", lambda r: self._keyed(r, self._cancel)),
            Route("POST", "/v1/refunds", "refund", lambda r: self._keyed(r, self._refund)),
            Route("GET", "/v1/refunds", "find", self._refunds),
            Route("POST", session, "authorize", lambda r: self._keyed(r, self._create_session)),
            Route("GET", f"{session}/([^/]+)", "confirm", lambda r: Response(self._session(r.of[0]))),
            Route("POST", f"{session}/([^/]+)/expire", "void", lambda r: self._keyed(r, self._expire)),
            Route("GET", "/v1/balance_transactions", "statement", lambda r: self._list(r, self.books.all("moved"))),
            Route("GET", "/pay/(\\w+)", "page", self._page),
            Route("POST", "/pay/(\\w+)", "page", self._clicked),
        ]

    def check(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {SECRET_KEY}":
            raise Problem(401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}})

    def _keyed(self, request: Request, act: Any) -> Response:
        message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
        conflict = Problem(400, {"error": {"type": "idempotency_error", "message": message}})
        return self.once(request, request.headers.get("idempotency-key", ""), lambda: act(request), conflict=conflict)

    # --- PaymentIntents -----------------------------------------------------------------------------------------------
    def _create(self, request: Request) -> Response:
        form = request.form
        card = form.get("payment_method", "")
        if card not in CARDS:
            raise _invalid("resource_missing", f"No such PaymentMethod: '{card}'", 404)
        intent = self._new_intent(form, form.get("capture_method", "automatic"), _nested(form, "metadata"))
        intent["return_url"] = form.get("return_url", "")
        return Response(self._confirm(intent, CARDS[card]))

    def _new_intent(self, form: dict[str, str], capture_method: str, metadata: dict[str, str]) -> dict[str, Any]:
        if not form.get("amount", "").isdigit() or int(form["amount"]) < 1:
            raise _invalid("parameter_invalid_integer", "Invalid integer: amount")
        if not re.fullmatch("[a-z]{3}", form.get("currency", "")):
            raise _invalid("parameter_missing", "Missing required param: currency.")
        return {
            "id": f"pi_{token_hex(12)}",
            "object": "payment_intent",
            "amount": int(form["amount"]),
            "amount_capturable": 0,
            "amount_received": 0,
            "capture_method": capture_method,
            "created": int(time.time()),
            "currency": form["currency"],
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": False,
            "metadata": metadata,
            "next_action": None,
            "status": "requires_confirmation",
        }

    def _confirm(self, intent: dict[str, Any], failure: str) -> dict[str, Any]:
        if failure == "authentication_required":
            intent["status"] = "requires_action"
            intent["next_action"] = {
                "type": "redirect_to_url",
                "redirect_to_url": {"url": f"{self.url}/pay/{intent['id']}", "return_url": intent["return_url"]},
            }
        elif failure:
            error = self._decline(intent, failure)
            raise Problem(402, {"error": error | {"payment_intent": intent}})
        else:
            self._pay(intent)
        return self._keep(intent)

    def _decline(self, intent: dict[str, Any], code: str) -> dict[str, Any]:
        """Keep an intent whose card was declined; it can be paid with another. Return the error."""
        error = {"type": "card_error", "code": code, "message": "Your card was declined."}
        intent["status"], intent["last_payment_error"] = "requires_payment_method", error
        self._keep(intent, "payment_intent.payment_failed")
        return error

    def _pay(self, intent: dict[str, Any]) -> None:
        manual = intent["capture_method"] == "manual"
        intent["next_action"] = None
        intent["status"] = "requires_capture" if manual else "succeeded"
        intent["latest_charge"] = {
            "id": f"ch_{token_hex(12)}",
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": 0,
            "amount_refunded": 0,
            "currency": intent["currency"],
            "metadata": intent["metadata"],
            "payment_intent": intent["id"],
        }
        self._enter(AUTHORIZE, intent, intent["amount"])
        if manual:
            intent["amount_capturable"] = intent["amount"]
            self._keep(intent, "payment_intent.amount_capturable_updated")
        else:
            self._take(intent, intent["amount"])

    def _take(self, intent: dict[str, Any], amount: int) -> None:
        intent["status"], intent["amount_received"], intent["amount_capturable"] = "succeeded", amount, 0
        intent["latest_charge"]["amount_captured"] = amount
        self._enter(CAPTURE, intent, amount)
        self._move(intent["latest_charge"])
        self._keep(intent, "payment_intent.succeeded")

    def _capture(self, request: Request) -> Response:
        intent = self._intent(request.of[0])
        if intent["status"] != "requires_capture":
            raise _unexpected(intent, "captured")
        amount = int(request.form.get("amount_to_capture", intent["amount_capturable"]))
        if not 0 < amount <= intent["amount_capturable"]:
            raise _invalid("amount_too_large", "The amount to capture is greater than the amount held.")
        self._take(intent, amount)
        return Response(intent)

    def _cancel(self, request: Request) -> Response:
        intent = self._intent(request.of[0])
        of_session = any(one["payment_intent"] == intent["id"] for one in self.books.all("session"))
        if intent["status"] in ("succeeded", "canceled") or (of_session and intent["status"] != "requires_capture"):
            raise _unexpected(intent, "canceled")
        if intent["status"] == "requires_capture":
            self._enter(VOID, intent, intent["amount"])
        intent["status"], intent["amount_capturable"], intent["next_action"] = "canceled", 0, None
        return Response(self._keep(intent, "payment_intent.canceled"))

    def _search(self, request: Request) -> Response:
        found = re.fullmatch(r"metadata\['payment'\]:'([^']+)'", request.query.get("query", ""))
        if not found:
            raise _invalid("search_query_invalid", "Unsupported query.")
        known = time.time() - NOT_SEARCHABLE_FOR
        old = [one for one in self.books.all("intent") if one["created"] < known]
        return _listed([one for one in old if one["metadata"].get("payment") == found[1]], "search_result")

    # --- Refunds, balance ---------------------------------------------------------------------------------------------
    def _refund(self, request: Request) -> Response:
        form = request.form
        intent = self._intent(form.get("payment_intent", ""))
        charge = intent["latest_charge"]
        if intent["status"] != "succeeded":
            raise _unexpected(intent, "refunded")
        left = charge["amount_captured"] - charge["amount_refunded"]
        amount = int(form.get("amount", left))
        if not left:
            raise _invalid("charge_already_refunded", f"Charge {charge['id']} has already been refunded.")
        if not 0 < amount <= left:
            raise _invalid("amount_too_large", f"Refund amount ({amount}) is greater than unrefunded amount ({left}).")
        charge["amount_refunded"] += amount
        refund = {
            "id": f"re_{token_hex(12)}",
            "object": "refund",
            "amount": amount,
            "created": int(time.time()),
            "currency": intent["currency"],
            "metadata": _nested(form, "metadata"),
            "payment_intent": intent["id"],
            "status": "succeeded",
        }
        self.books.put("refund", refund["id"], refund)
        self._enter(REFUND, intent, amount)
        self._move(refund)
        self._keep(intent, "charge.refunded")
        return Response(refund)

    def _refunds(self, request: Request) -> Response:
        of = [one for one in self.books.all("refund") if one["payment_intent"] == request.query.get("payment_intent")]
        return self._list(request, of)

    def _move(self, source: dict[str, Any]) -> None:
        moved: dict[str, Any] = {
            "id": f"txn_{token_hex(12)}",
            "object": "balance_transaction",
            "created": int(time.time()),
            "source": source,
        }
        self.books.put("moved", moved["id"], moved)

    # --- Checkout -----------------------------------------------------------------------------------------------------
    def _create_session(self, request: Request) -> Response:
        form = request.form
        item = "line_items[0][price_data]"
        priced = {"amount": form.get(f"{item}[unit_amount]", ""), "currency": form.get(f"{item}[currency]", "")}
        if form.get("mode") != "payment" or not form.get("success_url"):
            raise _invalid("parameter_missing", "Missing required param: success_url.")
        self._new_intent(priced, "", {})  # for its checks
        now = int(time.time())
        session: dict[str, Any] = {
            "id": f"cs_test_{token_hex(12)}",
            "object": "checkout.session",
            "client_reference_id": form.get("client_reference_id"),
            "created": now,
            "expires_at": now + OPEN_FOR,
            "metadata": _nested(form, "metadata"),
            "payment_intent": None,
            "status": "open",
            "success_url": form["success_url"],
            "cancel_url": form.get("cancel_url", ""),
            "priced": priced,
            "capture_method": form.get("payment_intent_data[capture_method]", "automatic"),
            "intent_metadata": _nested(form, "payment_intent_data[metadata]"),
        }
        session["url"] = f"{self.url}/pay/{session['id']}"
        self.books.put("session", session["id"], session)
        return Response(session)

    def _session(self, id: str) -> dict[str, Any]:
        session = self.books.get("session", id)
        if not session:
            raise _invalid("resource_missing", f"No such checkout.session: '{id}'", 404)
        if session["status"] == "open" and session["expires_at"] < time.time():
            session["status"] = "expired"
        if session["payment_intent"]:
            session["payment_intent"] = self._intent(session["payment_intent"])
        return dict(session)

    def _expire(self, request: Request) -> Response:
        session = self._session(request.of[0])
        if session["status"] != "open":
            raise _invalid("", f'Only Checkout Sessions with a status in ["open"] can be expired. {session["status"]}')
        return Response(self._keep_session(session, status="expired", url=None))

    def _page(self, request: Request) -> Response:
        id = request.of[0]
        if id.startswith("pi_"):
            intent = self._intent(id)
            return page("Is it you?", f"Your bank asks: pay {intent['amount']} {intent['currency']}?", _BUTTONS)
        session = self._session(id)
        if session["status"] != "open":
            return page("Stripe", f"This page is {session['status']}.", {})
        amount = session["priced"]
        text = f"{session['client_reference_id']}: {amount['amount']} {amount['currency']}"
        return page("Stripe Checkout", text, _BUTTONS | {"decline": "Use a card that is declined"})

    def _clicked(self, request: Request) -> Response:
        id, paid = request.of[0], request.form.get("action") == "pay"
        if id.startswith("pi_"):
            intent = self._intent(id)
            if intent["status"] == "requires_action" and paid:
                self._pay(intent)
            elif intent["status"] == "requires_action":
                intent["status"], intent["next_action"] = "requires_payment_method", None
                error = {
                    "code": "payment_intent_authentication_failure",
                    "message": "The customer did not authenticate.",
                }
                intent["last_payment_error"] = error
            self._keep(intent)
            return go(intent["return_url"], payment_intent=id, redirect_status="succeeded" if paid else "failed")
        session = self._session(id)
        if session["status"] != "open" or request.form.get("action") not in ("pay", "decline"):
            return go(session["cancel_url"])
        intent = session["payment_intent"] or self._new_intent(
            session["priced"], session["capture_method"], session["intent_metadata"]
        )
        if not paid:
            self._decline(intent, "card_declined")
            self._keep_session(session, payment_intent=intent)
            return go(session["url"])  # where another card can be tried
        self._pay(intent)
        session = self._keep_session(session, status="complete", payment_intent=intent, url=None)
        self._event("checkout.session.completed", session)
        return go(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))

    def _keep_session(self, session: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Store a session with these changes, and return it as it is then; it refers to its intent by id."""
        intent = (session := session | changes)["payment_intent"]
        session["payment_intent"] = intent and intent["id"]
        self.books.put("session", session["id"], session)
        return session

    # --- The rest -----------------------------------------------------------------------------------------------------
    def _intent(self, id: str) -> dict[str, Any]:
        intent: dict[str, Any] | None = self.books.get("intent", id)
        if not intent:
            raise _invalid("resource_missing", f"No such payment_intent: '{id}'", 404)
        return intent

    def _keep(self, intent: dict[str, Any], event: str = "") -> dict[str, Any]:
        self.books.put("intent", intent["id"], intent)
        if event:
            self._event(event, intent)
        return intent

    def _event(self, kind: str, about: dict[str, Any]) -> None:
        body = {"id": f"evt_{token_hex(12)}", "object": "event", "type": kind, "data": {"object": about}}
        self.tell(body, signed)

    def _enter(self, kind: str, intent: dict[str, Any], amount: int) -> None:
        payment = intent["metadata"].get("payment", "")
        self.books.enter(kind, intent["id"], payment, amount, intent["currency"].upper())

    def _list(self, request: Request, objects: list[dict[str, Any]]) -> Response:
        """Respond with a page of objects, newest first."""
        since = int(request.query.get("created[gte]", 0))
        before = int(request.query.get("created[lt]", 2**40))
        objects = [one for one in objects if since <= one["created"] < before]
        objects.sort(key=lambda one: (one["created"], one["id"]), reverse=True)
        if after := request.query.get("starting_after"):
            ids = [one["id"] for one in objects]
            objects = objects[ids.index(after) + 1 :]
        limit = int(request.query.get("limit", 10))
        return _listed(objects[:limit], "list", more=len(objects) > limit)


_BUTTONS = {"pay": "Pay", "cancel": "Cancel"}


def signed(body: bytes) -> dict[str, str]:
    """Return the header with which Stripe signs a notification."""
    at = int(time.time())
    mac = hmac.new(WEBHOOK_SECRET.encode(), f"{at}.".encode() + body, sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={mac}"}


def _nested(form: dict[str, str], name: str) -> dict[str, str]:
    """Return the values of name[one], name[two], … by one, two, …"""
    return {key[len(name) + 1 : -1]: value for key, value in form.items() if key.startswith(f"{name}[")}


def _listed(objects: list[dict[str, Any]], kind: str, *, more: bool = False) -> Response:
    return Response({"object": kind, "url": "/v1", "has_more": more, "data": objects})


def _invalid(code: str, message: str, status: int = 400) -> Problem:
    return Problem(status, {"error": {"type": "invalid_request_error", "code": code, "message": message}})


def _unexpected(intent: dict[str, Any], done: str) -> Problem:
    return _invalid(
        "payment_intent_unexpected_state",
        f"This PaymentIntent could not be {done} because it has a status of {intent['status']}.",
    )

"""Stripe, by its own library: PaymentIntents with manual capture, refunds, Checkout pages, signed webhooks.

- A payment with a token is a PaymentIntent, created and confirmed in one call
  (https://docs.stripe.com/api/payment_intents/create). The token is a PaymentMethod of a card, made in the browser with
  Stripe.js, so that no card number passes through us. If the bank asks for 3-D Secure, the intent
  `requires_action`, and its `next_action.redirect_to_url.url` is where the customer goes.
- A payment without one is a Checkout Session (https://docs.stripe.com/api/checkout/sessions/create): Stripe's page. The
  session is the reference until it is complete, and its PaymentIntent from then on. It can be paid for 24 hours, or
  until it is voided (https://docs.stripe.com/payments/checkout/managing-limited-inventory). After a declined card it
  stays open, with an intent that `requires_payment_method`, and the customer may try another card. Stripe cancels such
  an intent only by expiring its session (https://docs.stripe.com/api/payment_intents/cancel).
- Money is held with `capture_method=manual` and can be captured for 7 days, with most cards
  (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method). Amounts are in the smallest unit of a currency,
  by ISO 4217 but for `OTHER_UNITS`, which are declined here (https://docs.stripe.com/currencies).
- Keys: `Idempotency-Key`, up to 255 characters, kept for 24 hours at least; a repeated request gets the first one's
  status and body, also of a 500 (https://docs.stripe.com/api/idempotent_requests). So after a 5xx the intent is looked
  up, and a refund looks for one of its key among the refunds before it makes one.
- Looking up without a reference is a search by metadata, which does not know the last minute
  (https://docs.stripe.com/search#data-freshness). What it does not know is looked for in the list of intents of the
  last minutes, which does.
- Webhooks are signed; an event may come more than once and in any order (https://docs.stripe.com/webhooks).
- Errors: https://docs.stripe.com/api/errors, https://docs.stripe.com/error-codes. Rate limits answer 429
  (https://docs.stripe.com/rate-limits): 100 requests a second of a live account.

Not verified against Stripe itself, for want of an account: everything runs against the laboratory's stand-in, and what
`localstripe` knows of it against that as well.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import stripe
from msgspec.structs import replace

from payments.gateways.base import (
    ActionRequired,
    Authorization,
    Authorized,
    Capabilities,
    Captured,
    Declined,
    Done,
    Forged,
    Kind,
    Lookup,
    NotFound,
    Notification,
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

URL = "https://api.stripe.com"
LIMITS = Limits(per_second=90)
ACTION_OPEN = timedelta(minutes=30)  # for 3-D Secure; Stripe documents no limit
PROCESSING = timedelta(days=7)  # what a slow method may take
JUST_NOW = 1.0  # seconds: what is older was made by an earlier request with the same key
NOT_YET_SEARCHABLE = timedelta(minutes=5)
OTHER_UNITS = {"ISK", "MGA", "UGX"}  # an amount of ours would be a hundred times as much there, or a hundredth
RECENT = 1_000  # intents of that time that are looked through

Answer = Authorized | Captured | ActionRequired | Waiting | Declined | Unknown
Settled = Done | Refused | Unknown
Intent = Mapping[str, Any]
R = TypeVar("R", Declined, Refused)


class StripeGateway(OneByOne):
    """One account. Options: `secret_key`; `webhook_secret`, of the endpoint in Stripe's dashboard, several with commas
    while it is being replaced; `url` of a stand-in; `Limits`."""

    url, zone = URL, UTC
    capabilities = Capabilities(separate_capture=True, partial_refund=True, customer_action=True, asynchronous=False)

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.name = name
        self._webhook_secrets = [one.strip() for one in options.get("webhook_secret", "").split(",") if one.strip()]
        self.provider = Provider(name, Limits.of(options, LIMITS))
        self._v1 = stripe.StripeClient(
            options["secret_key"],
            base_addresses={"api": options.get("url", URL)},
            max_network_retries=0,
            http_client=_Transport(self.provider),
        ).v1

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Raises `Forged` for what is not signed with this endpoint's secret, or five minutes old."""
        signature = headers.get("stripe-signature", "")
        for secret in self._webhook_secrets:
            try:
                event = stripe.Webhook.construct_event(body, signature, secret, api_key="unused").to_dict()
            except (stripe.SignatureVerificationError, ValueError):
                continue
            about = (event.get("data") or {}).get("object") or {}
            payment = (about.get("metadata") or {}).get("payment")
            return Notification(event["id"], payment or "", about.get("payment_intent") or about.get("id") or "")
        raise Forged("the signature is not of this endpoint")

    def statement(self, day: date) -> Iterator[StatementLine]:
        """What moved money on a day in UTC, as balance transactions say. Raises `NoAnswer`."""
        began = datetime(day.year, day.month, day.day, tzinfo=UTC)
        created = {"gte": int(began.timestamp()), "lt": int((began + timedelta(days=1)).timestamp())}
        query: dict[str, Any] = {"created": created, "limit": 100, "expand": ["data.source"]}
        try:
            for moved in self._pages(self._v1.balance_transactions.list, query):
                source = moved["source"]
                kind = {"charge": Kind.CAPTURE, "refund": Kind.REFUND}.get(source["object"])
                if kind:
                    yield StatementLine(
                        reference=source["payment_intent"],
                        payment=source["metadata"].get("payment", ""),
                        kind=kind,
                        amount=source["amount_captured"] if kind == Kind.CAPTURE else source["amount"],
                        currency=source["currency"].upper(),
                        at=datetime.fromtimestamp(moved["created"], UTC),
                    )
        except stripe.StripeError as error:
            raise NoAnswer(f"{type(error).__name__}: {error.user_message}"[:200]) from error

    # --- One of a batch -----------------------------------------------------------------------------------------------
    def _authorize(self, request: Authorization) -> Answer:
        if request.currency in OTHER_UNITS:
            return Declined(f"PAY002: Stripe takes no {request.currency} of this shop")
        make = self._new_intent if request.token else self._new_page
        try:
            return make(request)
        except NoAnswer:  # its key answers with the same 500 from now on
            found = self._search(request.payment) if request.token else None
            if found is None:
                raise
            return _answer(found, request.amount, request.currency)
        except stripe.CardError as error:
            return Declined(f"PAY002: {error.code}: {error.user_message}"[:200])
        except stripe.InvalidRequestError as error:
            return _refused(error, Declined)
        except stripe.StripeError as error:
            return _open(self.name, error)

    def _new_intent(self, request: Authorization) -> Answer:
        params: dict[str, Any] = {
            "amount": request.amount,
            "currency": request.currency.lower(),
            "payment_method": request.token,
            "payment_method_types": ["card"],
            "capture_method": "automatic" if request.capture else "manual",
            "confirm": True,
            "metadata": {"payment": request.payment, "order": str(request.order_id)},
        } | ({"return_url": back} if (back := request.return_url()) else {})
        intent: Intent = self._v1.payment_intents.create(params, {"idempotency_key": request.key}).to_dict()  # type: ignore[arg-type]
        if intent["status"] == "requires_action" and intent["created"] < time.time() - JUST_NOW:
            intent = self._intent(intent["id"])
        return _until(_answer(intent, request.amount, request.currency), request.until)

    def _new_page(self, request: Authorization) -> Answer:
        metadata = {"payment": request.payment, "order": str(request.order_id)}
        item = {"currency": request.currency.lower(), "unit_amount": request.amount}
        params: dict[str, Any] = {
            "mode": "payment",
            "client_reference_id": request.payment,
            "line_items": [
                {"price_data": item | {"product_data": {"name": f"Order {request.order_id}"}}, "quantity": 1}
            ],
            "payment_intent_data": {
                "capture_method": "automatic" if request.capture else "manual",
                "metadata": metadata,
            },
            "metadata": metadata,
            "success_url": with_query(request.return_url(), outcome="paid"),
            "cancel_url": with_query(request.return_url(), outcome="cancel"),
        }
        page: Intent = self._v1.checkout.sessions.create(params, {"idempotency_key": request.key}).to_dict()  # type: ignore[arg-type]
        if page["created"] < time.time() - JUST_NOW:  # a repeated request: it answers as it was then
            page = self._session(page["id"])
        return _until(_page(page, request.amount, request.currency), request.until)

    def _confirm(self, came: Return) -> Answer:
        """Nothing is to be confirmed here: what the customer did is read."""
        try:
            if came.reference.startswith("cs_"):
                return _page(self._session(came.reference), came.amount, came.currency)
            intent = self._intent(came.reference) if came.reference else self._search(came.payment)
        except stripe.StripeError as error:
            return _open(self.name, error)
        return _answer(intent, came.amount, came.currency) if intent else Unknown("not found at Stripe")

    def _capture(self, operation: Operation) -> Settled:
        def capture(reference: str) -> Settled:
            self._v1.payment_intents.capture(
                reference, {"amount_to_capture": operation.amount}, {"idempotency_key": operation.key}
            )
            return Done(reference)

        def already(intent: Intent) -> bool:
            return intent["status"] == "succeeded" and _received(intent) >= operation.amount

        return self._settle(operation, capture, already)

    def _void(self, operation: Operation) -> Settled:
        def cancel(reference: str) -> Settled:
            self._v1.payment_intents.cancel(reference, {}, {"idempotency_key": operation.key})
            return Done(reference)

        def already(intent: Intent) -> bool:
            return intent["status"] == "canceled"

        try:
            if operation.reference.startswith("cs_"):
                status = self._session(operation.reference)["status"]
                if status == "open":
                    self._v1.checkout.sessions.expire(operation.reference, {}, {"idempotency_key": operation.key})
                if status != "complete":
                    return Done(operation.reference)
        except stripe.InvalidRequestError:
            return Unknown("paid or expired in this moment")
        except stripe.StripeError as error:
            return _open(self.name, error)
        return self._settle(operation, cancel, already)

    def _refund(self, operation: Operation) -> Settled:
        def refund(reference: str) -> Settled:
            refunds = self._refunds(reference)
            made = next((one for one in refunds if one["metadata"].get("key") == operation.key), None)
            params: dict[str, Any] = {
                "payment_intent": reference,
                "amount": operation.amount,
                "metadata": {"key": operation.key, "payment": operation.payment},
            }
            if made is None:
                made = self._v1.refunds.create(params, {"idempotency_key": operation.key}).to_dict()  # type: ignore[arg-type]
            status = made["status"]
            return Refused(f"PAY003: refund {status}") if status in ("failed", "canceled") else Done(reference)

        return self._settle(operation, refund, lambda _: False)

    def _find(self, sought: Lookup) -> State | NotFound | Unknown:
        try:
            if sought.reference.startswith("cs_"):
                page = self._session(sought.reference)
                if page["status"] != "complete":
                    return _state_of_page(page)
                intent: Intent | None = page["payment_intent"]
            elif sought.reference:
                intent = self._intent(sought.reference)
            else:
                intent = self._search(sought.payment)
        except stripe.InvalidRequestError as error:
            return NotFound() if error.code == "resource_missing" else Unknown(str(error)[:200])
        except stripe.StripeError as error:
            return _open(self.name, error)
        return _state(intent) if intent else NotFound()

    # --- Questions to Stripe ------------------------------------------------------------------------------------------
    def _settle(
        self, operation: Operation, act: Callable[[str], Settled], already: Callable[[Intent], bool]
    ) -> Settled:
        """Act on an intent; where Stripe refuses, look whether it is so already."""
        reference = operation.reference
        try:
            if reference.startswith("cs_"):
                reference = (self._session(reference)["payment_intent"] or {}).get("id", "")
                if not reference:
                    return Refused("PAY003: nothing was paid")
            return act(reference)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return Refused(f"PAY003: {error.user_message}"[:200])
            return Done(reference) if already(self._intent(reference)) else _refused(error, Refused)
        except stripe.StripeError as error:
            return _open(self.name, error)

    def _intent(self, reference: str) -> Intent:
        return self._v1.payment_intents.retrieve(reference, {"expand": ["latest_charge"]}).to_dict()

    def _session(self, reference: str) -> Intent:
        expand = ["payment_intent", "payment_intent.latest_charge"]
        return self._v1.checkout.sessions.retrieve(reference, {"expand": expand}).to_dict()

    def _refunds(self, reference: str) -> Iterator[Mapping[str, Any]]:
        return self._pages(self._v1.refunds.list, {"payment_intent": reference, "limit": 100})

    def _search(self, payment: str) -> Intent | None:
        """The intent of a payment of ours. Raises `NoAnswer` when there may be one that cannot be seen yet."""
        expand = ["data.latest_charge"]
        query = f"metadata['payment']:'{payment}'"
        for found in self._v1.payment_intents.search({"query": query, "expand": expand}).data:
            return found.to_dict()
        since = int((datetime.now(UTC) - NOT_YET_SEARCHABLE).timestamp())
        recent = {"created": {"gte": since}, "limit": 100, "expand": expand}
        for index, intent in enumerate(self._pages(self._v1.payment_intents.list, recent)):
            if intent["metadata"].get("payment") == payment:
                return intent
            if index + 1 >= RECENT:
                raise NoAnswer("too many intents are too new to be searched")
        return None

    def _pages(self, ask: Callable[..., Any], query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        more: dict[str, Any] = {}
        while True:
            page = ask(query | more)
            yield from (one.to_dict() for one in page.data)
            if not page.has_more:
                return
            more = {"starting_after": page.data[-1].id}


# --- What Stripe's words mean -----------------------------------------------------------------------------------------
def _answer(intent: Intent, amount: int, currency: str) -> Answer:
    if (intent["amount"], intent["currency"].upper()) != (amount, currency):
        logger.error(
            "Stripe's %s is of %s %s, not %s %s", intent["id"], intent["amount"], intent["currency"], amount, currency
        )
        return Unknown(f"{intent['id']} has another amount")
    reference, now = intent["id"], datetime.now(UTC)
    match intent["status"]:
        case "requires_capture":
            return Authorized(reference)
        case "succeeded":
            return Captured(reference)
        case "processing":
            return Waiting(reference, now + PROCESSING)
        case "requires_action":
            url = ((intent.get("next_action") or {}).get("redirect_to_url") or {}).get("url", "")
            until = datetime.fromtimestamp(intent["created"], UTC) + ACTION_OPEN
            return ActionRequired(reference, url, until) if url else Declined("PAY002: 3-D Secure has no page")
        case "canceled":
            return Declined("PAY002: canceled")
        case "requires_payment_method":
            error = intent.get("last_payment_error") or {}
            return Declined(f"PAY002: {error.get('code', 'declined')}: {error.get('message', '')}"[:200])
    return Unknown(f"{reference} is {intent['status']}")


def _until(answer: Answer, until: datetime | None) -> Answer:
    """Limit an answer's deadline to the shop's."""
    if isinstance(answer, ActionRequired) and until is not None:
        return replace(answer, until=min(answer.until, until))
    return answer


def _page(page: Intent, amount: int, currency: str) -> Answer:
    """An open page can still be paid, whatever its intent says of the last card."""
    match page["status"]:
        case "open":
            return ActionRequired(page["id"], page["url"], datetime.fromtimestamp(page["expires_at"], UTC))
        case "complete":
            return _answer(page["payment_intent"], amount, currency)
    return Declined("PAY002: the payment page has expired")


def _state(intent: Intent) -> State:
    charge = intent.get("latest_charge") or {}
    held = intent["status"] in ("requires_capture", "succeeded")
    answer = _answer(intent, intent["amount"], intent["currency"].upper())
    return State(
        reference=intent["id"],
        authorized=intent["amount"] if held else 0,
        captured=_received(intent),
        refunded=charge.get("amount_refunded", 0) if intent["status"] == "succeeded" else 0,
        voided=intent["status"] == "canceled",
        action=answer if isinstance(answer, ActionRequired | Waiting) else None,
    )


def _received(intent: Intent) -> int:
    taken = intent["amount"] if intent["status"] == "succeeded" else 0
    return int(intent.get("amount_received", taken))  # `localstripe` leaves it out


def _state_of_page(page: Intent) -> State:
    action = _page(page, 0, "")
    return State(
        reference=page["id"],
        authorized=0,
        captured=0,
        refunded=0,
        voided=page["status"] == "expired",
        action=action if isinstance(action, ActionRequired) else None,
    )


def _refused(error: stripe.InvalidRequestError, kind: type[R]) -> R | Unknown:
    """A final refusal; `Unknown` for a temporary one, as while another request has the key."""
    if error.http_status == 409 or error.code in ("lock_timeout", "idempotency_key_in_use"):
        return Unknown(f"{error.code}: {error.user_message}"[:200])
    code = "PAY002" if kind is Declined else "PAY003"
    return kind(f"{code}: {error.code}: {error.user_message}"[:200])


def _open(name: str, error: stripe.StripeError) -> Unknown:
    """Any other error leaves the outcome unknown. Raises `NoAnswer` where the response cannot be read."""
    if isinstance(error, stripe.APIError):
        raise NoAnswer(str(error)[:200]) from error
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError | stripe.IdempotencyError):
        logger.error("%s refuses us: %s", name, error)
    return Unknown(f"{type(error).__name__}: {error.user_message}"[:200])


class _Transport(stripe.HTTPClient):
    """The library's requests, sent by the provider's client and within its limits."""

    name = "httpx"

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self._provider = provider

    def request(self, method, url, headers=None, post_data=None, *, _usage=None):  # type: ignore[no-untyped-def]
        response = self._provider.request(method.upper(), url, headers=headers, content=post_data or b"")
        return response.content, response.status_code, response.headers

"""Asking the gateways about payments, all of one gateway at once, outside any transaction.

A gateway that is away leaves its own payments' outcomes unknown, and nobody else's.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from django.conf import settings
from django.utils import timezone

from payments import ledger
from payments.gateways import (
    Answer,
    Authorization,
    Declined,
    Lookup,
    NotFound,
    Operation,
    PaymentGateway,
    Return,
    Unknown,
    UnknownGateway,
    gateway,
)
from payments.links import return_url
from payments.models import Payment, PaymentAttempt, PaymentOperation
from sagas import Unavailable
from sagas.crash_points import crash_point
from shop.contracts.payments import AT_ONCE
from shop.contracts.reasons import UNKNOWN_GATEWAY
from shop.seal import What, is_sealed, unseal

logger = logging.getLogger(__name__)

Question = PaymentAttempt.Operation
R = TypeVar("R")


class Payable(Protocol):
    """What a gateway has to know of a payment: the row, or these columns of it."""

    @property
    def order_id(self) -> int: ...
    @property
    def gateway(self) -> str: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def amount(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def capture_later(self) -> bool: ...


class Asked(NamedTuple):
    """What a gateway was asked about an order's payment, and what it said."""

    order_id: int
    operation: str
    outcome: Answer


Answers = Mapping[int, Asked]  # by order
Operated = Mapping[str, Asked]  # by the operation's key


def captures_later(name: str) -> bool:
    """Whether a gateway is to hold money first (PAYMENT_CAPTURE). One that cannot is charged at once."""
    if settings.PAYMENT_CAPTURE == AT_ONCE:
        return False
    try:
        return gateway(name).capabilities.separate_capture
    except UnknownGateway:
        return False


def charge(payments: Iterable[Payable]) -> Answers:
    """Have payments charged, or their money held, each by its gateway and with its key.

    A payment whose token cannot be decrypted stays PENDING: its order is cancelled at its deadline, unless the secret
    is configured again before.
    """
    opened, answers = [], {}
    until = timezone.now() + settings.PAY_WITHIN
    for payment in payments:
        try:
            opened.append((payment, _request(payment, until)))
        except ValueError as error:
            logger.error("Order %d is not charged: %s", payment.order_id, error)
            answers[payment.order_id] = Asked(payment.order_id, Question.CHARGE, Unknown(str(error)))
    asked = _ask(Question.CHARGE, opened, lambda to, batch: to.authorize(batch))
    return {**{one.order_id: one for one in asked}, **answers}


def confirm(payments: Iterable[Payment]) -> Answers:
    """Confirm payments that wait for their customers, some of whom have come back."""
    returns = [
        (
            payment,
            Return(
                key=payment.idempotency_key,
                payment=payment.idempotency_key,
                reference=payment.reference,
                amount=payment.amount,
                currency=payment.currency,
                capture=not payment.capture_later,
                parameters=payment.returned_with or {},
            ),
        )
        for payment in payments
    ]
    asked = _ask(Question.CONFIRM, returns, lambda to, batch: to.confirm(batch))
    return {one.order_id: one for one in asked}


def capture(payments: Iterable[Payment]) -> Operated:
    """Have the gateways carry out the open captures of these payments."""
    return _operate(Question.CAPTURE, payments, PaymentOperation.Kind.CAPTURE, lambda to, batch: to.capture(batch))


def void(payments: Iterable[Payment]) -> Operated:
    """Have the gateways carry out the open voids of these payments."""
    return _operate(Question.VOID, payments, PaymentOperation.Kind.VOID, lambda to, batch: to.void(batch))


def refund(payments: Iterable[Payment]) -> Operated:
    """Have the gateways carry out the open refunds of these payments."""
    return _operate(Question.REFUND, payments, PaymentOperation.Kind.REFUND, lambda to, batch: to.refund(batch))


def find(payments: Iterable[Payable]) -> Answers:
    """Look up what has become of payments."""
    sought = [(payment, Lookup(payment.idempotency_key, payment.reference)) for payment in payments]
    return {one.order_id: one for one in _ask(Question.FIND, sought, lambda to, batch: to.find(batch))}


def _operate(
    question: str,
    payments: Iterable[Payment],
    kind: str,
    ask: Callable[[PaymentGateway, list[Operation]], Sequence[Answer]],
) -> Operated:
    operations = [
        (
            payment,
            Operation(
                key=row.key,
                payment=payment.idempotency_key,
                reference=payment.reference,
                amount=row.amount,
                currency=row.currency,
                reason=row.reason,
            ),
        )
        for payment in payments
        for row in ledger.open_rows(payment, kind)
    ]
    asked = _ask(question, operations, ask)
    return {operation.key: one for (_, operation), one in zip(operations, asked, strict=True)}


def _request(payment: Payable, until: datetime) -> Authorization:
    """Raises ValueError for a token that was sealed for another order, or with an unknown secret."""
    token = payment.token  # older releases stored it in clear
    if is_sealed(token):
        token = unseal(token, What.PAYMENT_TOKEN, order_id=payment.order_id)
    return Authorization(
        key=payment.idempotency_key,
        payment=payment.idempotency_key,
        order_id=payment.order_id,
        amount=payment.amount,
        currency=payment.currency,
        token=token,
        capture=not payment.capture_later,
        return_url=partial(return_url, payment.order_id),
        until=until,
    )


def _ask(
    question: str,
    requests: Sequence[tuple[Payable, R]],
    ask: Callable[[PaymentGateway, list[R]], Sequence[Answer]],
) -> list[Asked]:
    """Put each request to the gateway of its payment; the answers, in the order of the requests."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, (payment, _) in enumerate(requests):
        places[payment.gateway].append(place)
    outcomes: dict[int, Answer] = {}
    for name in sorted(places):
        batch = [requests[place][1] for place in places[name]]
        answers: Sequence[Answer]
        crash_point("gateway.asking")
        try:
            answers = ask(gateway(name), batch)
        except Unavailable as outage:
            logger.warning("%s of %d payments is left open: %s", question, len(batch), outage)
            answers = [Unknown(str(outage))] * len(batch)
        except UnknownGateway as error:
            asked_to_pay = question in (Question.CHARGE, Question.CONFIRM)
            refusal = Declined(f"{UNKNOWN_GATEWAY}: {error}") if asked_to_pay else NotFound()
            answers = [refusal] * len(batch)
        crash_point("gateway.answered")
        outcomes.update(zip(places[name], answers, strict=True))
    return [Asked(payment.order_id, question, outcomes[place]) for place, (payment, _) in enumerate(requests)]

"""Asking the gateways about payments, all of one gateway at once, outside any transaction.

A gateway that is away leaves its own payments' outcomes unknown, and nobody else's.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from payments.gateways import (
    Answer,
    Authorization,
    Declined,
    Lookup,
    NotFound,
    Operation,
    PaymentGateway,
    Unknown,
    UnknownGateway,
    gateway,
)
from payments.models import PaymentAttempt
from sagas import Unavailable
from sagas.crash_points import crash_point
from shop.contracts.reasons import UNKNOWN_GATEWAY
from shop.seal import What, is_sealed, unseal

logger = logging.getLogger(__name__)

Question = PaymentAttempt.Operation


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
    def token(self) -> str: ...


class Asked(NamedTuple):
    """What a gateway was asked about a payment, and what it said."""

    operation: str
    outcome: Answer


Answers = Mapping[int, Asked]  # by order


def charge(payments: Iterable[Payable]) -> Answers:
    """Have payments charged, each by its gateway and with its key.

    Whose token cannot be opened is left open: its order is cancelled at its deadline, unless the secret comes back.
    """
    opened, answers = {}, {}
    for payment in payments:
        try:
            opened[payment.order_id] = payment, _request(payment)
        except ValueError as error:
            logger.error("Order %d is not charged: %s", payment.order_id, error)
            answers[payment.order_id] = Asked(Question.CHARGE, Unknown(str(error)))
    asked = _ask(
        Question.CHARGE,
        [payment for payment, _ in opened.values()],
        lambda to, batch: to.authorize([opened[payment.order_id][1] for payment in batch]),
    )
    return {**asked, **answers}


def refund(payments: Iterable[Payable]) -> Answers:
    """Have payments refunded by the gateway that charged them."""
    return _ask(Question.REFUND, payments, lambda to, batch: to.refund([_undo(payment) for payment in batch]))


def find(payments: Iterable[Payable]) -> Answers:
    """Look up what has become of payments."""
    return _ask(
        Question.FIND, payments, lambda to, batch: to.find([Lookup(payment.idempotency_key, "") for payment in batch])
    )


def _undo(payment: Payable) -> Operation:
    """To give back all of it."""
    return Operation(
        key=f"{payment.idempotency_key}-undo",
        payment=payment.idempotency_key,
        reference="",
        amount=payment.amount,
        currency=payment.currency,
    )


def _request(payment: Payable) -> Authorization:
    """Raises ValueError for a token that was sealed for another order, or with a secret that we have not."""
    token = payment.token  # in clear it comes from a release that did not seal it
    if is_sealed(token):
        token = unseal(token, What.PAYMENT_TOKEN, order_id=payment.order_id)
    return Authorization(
        key=payment.idempotency_key,
        payment=payment.idempotency_key,
        order_id=payment.order_id,
        amount=payment.amount,
        currency=payment.currency,
        token=token,
        capture=True,
    )


def _ask(
    operation: str, payments: Iterable[Payable], ask: Callable[[PaymentGateway, list[Payable]], Sequence[Answer]]
) -> Answers:
    answers = {}
    for name, group in groupby(sorted(payments, key=lambda payment: payment.gateway), key=lambda one: one.gateway):
        batch = list(group)
        outcomes: Sequence[Answer]
        crash_point("gateway.asking")
        try:
            outcomes = ask(gateway(name), batch)
        except Unavailable as outage:
            logger.warning("%s of %d payments is left open: %s", operation, len(batch), outage)
            outcomes = [Unknown(str(outage))] * len(batch)
        except UnknownGateway as error:
            refusal = Declined(f"{UNKNOWN_GATEWAY}: {error}") if operation == Question.CHARGE else NotFound()
            outcomes = [refusal] * len(batch)
        crash_point("gateway.answered")
        for payment, outcome in zip(batch, outcomes, strict=True):
            answers[payment.order_id] = Asked(operation, outcome)
    return answers

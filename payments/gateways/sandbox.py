"""A payment gateway to try things on: no money, but a ledger of its own and every way to fail that real ones have.

It stands for another company's system. So it commits by itself, outside our transactions, knows nothing of our
payments, and the audit compares its ledger with ours. What it does is decided by the token:

tok_ok                   charges
tok_declined, tok_insufficient_funds       declines
tok_timeout_charged      charges, but the first answer is lost
tok_timeout_not_charged  the first request is lost, the next one charges
tok_flaky_3              the first three requests are lost
tok_action               sends the customer to a page of the sandbox, with "pay" and "cancel"
tok_deposit              waits for a transfer to an account, which the same page can make
tok_hold_lost            charges; money that is only held is let go of by the bank, and cannot be taken
tok_slow_2s              charges; on a development machine after two seconds, in which the worker waits
anything else            declines

Without `settings.SANDBOX` it declines everything: goods are not to be had for a token that costs nothing. What was
charged before can be found and refunded.

`settings.GATEWAY_FAILURE_RATES` loses that share of all requests or, half of the time, of their answers: which ones
depends on key and attempt alone. A row in `SandboxSwitch` takes a whole gateway away.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from hashlib import blake2b

from django.conf import settings
from django.db import connections, transaction
from django.utils.timezone import get_default_timezone

from fastdb.bulk import insert_rows
from payments.gateways import pages
from payments.gateways.base import (
    Authorization,
    Authorized,
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
from payments.models import GatewayLedger, PaymentOperation
from sagas import Unavailable
from sagas.db.prepared import query
from shop import faults
from shop.contracts.reasons import PAYMENT_DECLINED

DECLINES = {
    "tok_declined": f"{PAYMENT_DECLINED}: declined",
    "tok_insufficient_funds": f"{PAYMENT_DECLINED}: insufficient funds",
}
NO_GATEWAY = f"{PAYMENT_DECLINED}: no payment gateway is connected"
NOT_RECOGNISED = f"{PAYMENT_DECLINED}: unknown token"
LOST_REQUESTS = {"tok_timeout_not_charged": 1, "tok_flaky_3": 3}
LOST_ANSWERS = {"tok_timeout_charged": 1}
SLOW_TOKEN, SLOWNESS = "tok_slow_2s", 2.0
ACTION_TOKEN, DEPOSIT_TOKEN, LOSING_TOKEN = "tok_action", "tok_deposit", "tok_hold_lost"  # nosec B105
CHARGING = {"tok_ok", SLOW_TOKEN, LOSING_TOKEN, *LOST_REQUESTS, *LOST_ANSWERS}
TIMED_OUT = Unknown("timed out")
WAITS = Unknown("the page is about to be opened")  # a placeholder until it is

COUNT = """
    INSERT INTO payments_sandboxrequest AS known (gateway, operation, key, requests)
    SELECT %s, %s, key, 1 FROM unnest(%s::varchar[]) AS key ORDER BY key
    ON CONFLICT (gateway, operation, key) DO UPDATE SET requests = known.requests + 1
    RETURNING key, requests
"""
BOOKED = """
    SELECT payment, key, kind, amount FROM payments_gatewayledger WHERE gateway = %s AND payment = ANY(%s::varchar[])
"""
# Who moves a payment's money locks its first entry.
LOCK = """
    SELECT id FROM payments_gatewayledger
    WHERE gateway = %s AND payment = ANY(%s::varchar[]) AND kind IN ('AUTHORIZE', 'CHARGE') ORDER BY id FOR UPDATE
"""
Kinds = PaymentOperation.Kind


@dataclass(frozen=True)
class SandboxGateway:
    """One gateway; `pause(seconds)` is how a slow one passes the time."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    pause: Callable[[float], None] = time.sleep

    capabilities = Capabilities(separate_capture=True, partial_refund=True, customer_action=True, asynchronous=True)

    @property
    def zone(self) -> tzinfo:
        return get_default_timezone()

    def authorize(self, requests: Sequence[Authorization]) -> list[Authorizing]:
        if not settings.SANDBOX:
            return [Declined(NO_GATEWAY) for _ in requests]
        self._raise_if_away()
        if settings.DEBUG and any(request.token == SLOW_TOKEN for request in requests):
            self.pause(SLOWNESS)  # nowhere else: customers share their worker with others
        counted = [one for one in requests if one.token in LOST_REQUESTS or one.token in LOST_ANSWERS]
        rate = self._failure_rate()
        attempts = self._count("AUTHORIZE", [one.key for one in (requests if rate else counted)])
        answers: list[Authorizing] = []
        granted, sent_on = [], []
        for request in requests:
            attempt = attempts.get(request.key, 1)
            request_lost, answer_lost = self._fate(rate, "AUTHORIZE", request.key, attempt)
            if request_lost or attempt <= LOST_REQUESTS.get(request.token, 0):
                answers.append(TIMED_OUT)
            elif request.token in (ACTION_TOKEN, DEPOSIT_TOKEN):
                sent_on.append(request)
                answers.append(TIMED_OUT if answer_lost else WAITS)
            elif request.token not in CHARGING:
                answers.append(Declined(DECLINES.get(request.token, NOT_RECOGNISED)))
            else:
                granted.append(request)
                answer_lost = answer_lost or attempt <= LOST_ANSWERS.get(request.token, 0)
                reference = _reference(request.payment)
                answers.append(
                    TIMED_OUT if answer_lost else Captured(reference) if request.capture else Authorized(reference)
                )
        self._book(
            (one.payment, one.key, Kinds.CHARGE if one.capture else Kinds.AUTHORIZE, one.amount, one.currency)
            for one in granted
        )
        if lost := [one for one in granted if one.token == LOSING_TOKEN and not one.capture]:
            self._book((one.payment, f"{one.key}-lost", Kinds.VOID, one.amount, one.currency) for one in lost)
        if not sent_on:
            return answers
        deposits = [one.payment for one in sent_on if one.token == DEPOSIT_TOKEN]
        waiting = pages.open_pages(self.name, sent_on, deposits=deposits)
        return [
            waiting[one.payment] if answer is WAITS else answer for one, answer in zip(requests, answers, strict=True)
        ]

    def confirm(self, returns: Sequence[Return]) -> list[Authorizing]:
        self._raise_if_away()
        decided = pages.answers(self.name, [one.payment for one in returns])
        return [decided.get(one.payment, Declined(NOT_RECOGNISED)) for one in returns]

    def capture(self, operations: Sequence[Operation]) -> list[Operating]:
        return self._operate(Kinds.CAPTURE, operations, _held)

    def void(self, operations: Sequence[Operation]) -> list[Operating]:
        self._raise_if_away()
        closed = pages.void(self.name, {one.payment: one.key for one in operations})
        rest = iter(self._operate(Kinds.VOID, [one for one in operations if one.payment not in closed], _held))
        return [Done(_reference(one.payment)) if one.payment in closed else next(rest) for one in operations]

    def refund(self, operations: Sequence[Operation]) -> list[Operating]:
        return self._operate(Kinds.REFUND, operations, lambda state: state.captured - state.refunded)

    def find(self, payments: Sequence[Lookup]) -> list[Finding]:
        self._raise_if_away()
        rate = self._failure_rate()
        attempts = self._count("FIND", [one.payment for one in payments] if rate else ())
        names = [one.payment for one in payments]
        states = pages.states(self.name, names) | _states(query("payments", BOOKED, [self.name, names]))
        return [
            TIMED_OUT
            if any(self._fate(rate, "FIND", payment, attempts.get(payment, 1)))
            else states.get(payment, NotFound())
            for payment, _ in payments
        ]

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """{"event": …, "payment": …}, unsigned: whoever wants to see what follows sends it. Raises `Forged`."""
        try:
            said = json.loads(body) if settings.SANDBOX else {}
            return Notification(str(said["event"]), str(said["payment"]))
        except (ValueError, LookupError, TypeError) as error:
            raise Forged("not a notification of the sandbox") from error

    def statement(self, day: date) -> Iterator[StatementLine]:
        kinds = {Kinds.CHARGE: Kind.CAPTURE, Kinds.CAPTURE: Kind.CAPTURE, Kinds.REFUND: Kind.REFUND}
        began, ended = (datetime.combine(one, datetime.min.time(), self.zone) for one in (day, day + timedelta(days=1)))
        booked = GatewayLedger.objects.filter(gateway=self.name, at__gte=began, at__lt=ended, kind__in=kinds)
        for entry in booked.order_by("pk").iterator():
            kind = kinds[Kinds(entry.kind)]
            yield StatementLine(
                _reference(entry.payment), entry.payment, kind, entry.amount, entry.currency, entry.at, entry.key
            )

    def _operate(
        self, kind: Kinds, operations: Sequence[Operation], available: Callable[[State], int]
    ) -> list[Operating]:
        """Book those of the operations for which there is enough, each key once."""
        self._raise_if_away()
        rate = self._failure_rate()
        attempts = self._count(kind, [one.key for one in operations] if rate else ())
        fates = {one.key: self._fate(rate, kind, one.key, attempts.get(one.key, 1)) for one in operations}
        reached = [one for one in operations if not fates[one.key][0]]
        names = [one.payment for one in reached]
        with transaction.atomic(using="payments"):
            query("payments", LOCK, [self.name, names])
            booked = query("payments", BOOKED, [self.name, names])
            known, states = {key for _, key, _, _ in booked}, _states(booked)
            booking = [
                one
                for one in reached
                if one.key not in known and one.payment in states and one.amount <= available(states[one.payment])
            ]
            self._book((one.payment, one.key, kind, one.amount, one.currency) for one in booking)
            done = known | {one.key for one in booking}
        return [
            TIMED_OUT
            if any(fates[one.key])
            else Done(_reference(one.payment))
            if one.key in done
            else Refused(f"not so much can be moved: {kind.lower()} {one.amount}")
            for one in operations
        ]

    def _raise_if_away(self) -> None:
        """Raise `Unavailable` if the gateway is switched off. Faults of the drill may make it slow."""
        if slowness := faults.level("gateway-slow"):
            self.pause(slowness)
        switch = "SELECT 1 FROM payments_sandboxswitch WHERE gateway = %s AND away"
        if faults.level("gateway-away") or query("payments", switch, [self.name]):
            raise Unavailable(f"{self.name} is away")

    def _failure_rate(self) -> float:
        return max(settings.GATEWAY_FAILURE_RATES.get(self.name, 0.0), faults.level("payment-failures"))

    def _fate(self, rate: float, operation: str, key: str, attempt: int) -> tuple[bool, bool]:
        """Whether this request is lost, and whether its answer is, at this rate of losses."""
        if not rate:
            return False, False
        digest = blake2b(f"{self.name} {operation} {key} {attempt}".encode(), digest_size=8).digest()
        lost = int.from_bytes(digest[:7], "big") / 2**56 < rate
        return lost and digest[7] % 2 == 0, lost and digest[7] % 2 == 1

    def _count(self, operation: str, keys: Sequence[str]) -> dict[str, int]:
        """Count these requests; return how often each key was sent by now."""
        if not keys:
            return {}
        with connections["payments"].cursor() as cursor:
            cursor.execute(COUNT, [self.name, operation, sorted(set(keys))])
            return dict(cursor.fetchall())

    def _book(self, entries: Iterable[tuple[str, str, str, int, str]]) -> None:
        """Write ledger entries (payment, key, kind, amount, currency); one that is there already stays as it is."""
        rows = [
            {
                "gateway": self.name,
                "payment": payment,
                "key": key,
                "kind": kind,
                "amount": amount,
                "currency": currency,
            }
            for payment, key, kind, amount, currency in sorted(entries)
        ]
        insert_rows(GatewayLedger, rows, then="ON CONFLICT DO NOTHING")


def _states(booked: Iterable[tuple[str, str, str, int]]) -> dict[str, State]:
    """What has happened to the payments of which something is booked."""
    sums: dict[str, dict[str, int]] = {}
    for payment, _, kind, amount in booked:
        sums.setdefault(payment, dict.fromkeys(Kinds, 0))[kind] += amount
    return {
        payment: State(
            reference=_reference(payment),
            authorized=of[Kinds.AUTHORIZE] + of[Kinds.CHARGE],
            captured=of[Kinds.CAPTURE] + of[Kinds.CHARGE],
            refunded=of[Kinds.REFUND],
            voided=of[Kinds.VOID] > 0,
        )
        for payment, of in sums.items()
    }


def _reference(payment: str) -> str:
    return f"sandbox-{payment}"


def _held(state: State) -> int:
    """What can still be captured."""
    return 0 if state.voided else state.authorized - state.captured

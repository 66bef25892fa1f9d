"""A payment gateway to try things on: no money, but a ledger of its own and every way to fail that real ones have.

It stands for somebody else's system. So it commits for itself, outside our transactions, knows nothing of our
payments, and its ledger is what the audit compares ours with. What it does is decided by the token:

tok_ok                   charges
tok_declined, tok_insufficient_funds       declines
tok_timeout_charged      charges, but the first answer is lost
tok_timeout_not_charged  the first request is lost, the next one charges
tok_flaky_3              the first three requests are lost
tok_slow_2s              charges; on a development machine after two seconds, in which the worker waits
anything else            declines

Without `settings.SANDBOX` it declines everything: goods are not to be had for a token that costs nothing. What was
charged before can be found and refunded.

`settings.GATEWAY_FAILURE_RATES` loses that share of all requests or, half of the time, of their answers: which ones
depends on key and attempt alone. A row in `SandboxSwitch` takes a whole gateway away.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from django.conf import settings
from django.db import connections

from fastdb.bulk import insert_rows
from payments.gateways.base import Charged, ChargeRequest, Declined, NotCharged, Refunded, Unknown
from payments.models import GatewayLedger
from sagas import Unavailable
from sagas.db.prepared import query
from shop import faults

DECLINES = {"tok_declined": "PAY002: declined", "tok_insufficient_funds": "PAY002: insufficient funds"}
NO_GATEWAY = "PAY002: no payment gateway is connected"
NOT_RECOGNISED = "PAY002: unknown token"
LOST_REQUESTS = {"tok_timeout_not_charged": 1, "tok_flaky_3": 3}
LOST_ANSWERS = {"tok_timeout_charged": 1}
SLOW_TOKEN, SLOWNESS = "tok_slow_2s", 2.0
CHARGING = {"tok_ok", SLOW_TOKEN, *LOST_REQUESTS, *LOST_ANSWERS}
TIMED_OUT = Unknown("timed out")

COUNT = """
    INSERT INTO payments_sandboxrequest AS known (gateway, operation, key, requests)
    SELECT %s, %s, key, 1 FROM unnest(%s::varchar[]) AS key ORDER BY key
    ON CONFLICT (gateway, operation, key) DO UPDATE SET requests = known.requests + 1
    RETURNING key, requests
"""


@dataclass(frozen=True)
class SandboxGateway:
    """One gateway; `pause(seconds)` is how a slow one passes the time."""

    name: str
    pause: Callable[[float], None] = time.sleep

    def charge(self, requests: Sequence[ChargeRequest]) -> list[Charged | Declined | Unknown]:
        if not settings.SANDBOX:
            return [Declined(NO_GATEWAY) for _ in requests]
        self._answer_the_door()
        if settings.DEBUG and any(request.token == SLOW_TOKEN for request in requests):
            self.pause(SLOWNESS)  # nowhere else: customers share their worker with others
        counted = [one for one in requests if one.token in LOST_REQUESTS or one.token in LOST_ANSWERS]
        rate = self._failure_rate()
        attempts = self._count("CHARGE", [one.key for one in (requests if rate else counted)])
        answers: list[Charged | Declined | Unknown] = []
        charged = []
        for request in requests:
            attempt = attempts.get(request.key, 1)
            request_lost, answer_lost = self._fate(rate, "CHARGE", request.key, attempt)
            if request_lost or attempt <= LOST_REQUESTS.get(request.token, 0):
                answers.append(TIMED_OUT)
            elif request.token not in CHARGING:
                answers.append(Declined(DECLINES.get(request.token, NOT_RECOGNISED)))
            else:
                charged.append(request)
                answers.append(TIMED_OUT if answer_lost or attempt <= LOST_ANSWERS.get(request.token, 0) else Charged())
        self._book(GatewayLedger.Kind.CHARGE, [(one.key, one.amount, one.currency) for one in charged])
        return answers

    def refund(self, keys: Sequence[str]) -> list[Refunded | NotCharged | Unknown]:
        self._answer_the_door()
        rate = self._failure_rate()
        attempts = self._count("REFUND", keys if rate else ())
        fates = {key: self._fate(rate, "REFUND", key, attempts.get(key, 1)) for key in keys}
        reached = [key for key in keys if not fates[key][0]]
        rows = GatewayLedger.objects.filter(gateway=self.name, key__in=reached, kind=GatewayLedger.Kind.CHARGE)
        charges = {
            key: (key, amount, currency) for key, amount, currency in rows.values_list("key", "amount", "currency")
        }
        self._book(GatewayLedger.Kind.REFUND, list(charges.values()))
        return [TIMED_OUT if any(fates[key]) else Refunded() if key in charges else NotCharged() for key in keys]

    def find(self, keys: Sequence[str]) -> list[Charged | Refunded | NotCharged | Unknown]:
        self._answer_the_door()
        rate = self._failure_rate()
        attempts = self._count("FIND", keys if rate else ())
        entries = set(GatewayLedger.objects.filter(gateway=self.name, key__in=keys).values_list("key", "kind"))
        answers: list[Charged | Refunded | NotCharged | Unknown] = []
        for key in keys:
            if any(self._fate(rate, "FIND", key, attempts.get(key, 1))):
                answers.append(TIMED_OUT)
            elif (key, GatewayLedger.Kind.REFUND) in entries:
                answers.append(Refunded())
            elif (key, GatewayLedger.Kind.CHARGE) in entries:
                answers.append(Charged())
            else:
                answers.append(NotCharged())
        return answers

    def _answer_the_door(self) -> None:
        if slowness := faults.level("gateway-slow"):
            self.pause(slowness)
        switch = "SELECT 1 FROM payments_sandboxswitch WHERE gateway = %s AND away"
        if faults.level("gateway-away") or query("payments", switch, [self.name]):
            raise Unavailable(f"{self.name} is away")

    def _failure_rate(self) -> float:
        return max(settings.GATEWAY_FAILURE_RATES.get(self.name, 0.0), faults.level("payment-failures"))

    def _fate(self, rate: float, operation: str, key: str, attempt: int) -> tuple[bool, bool]:
        """Whether this request is lost, and whether its answer is, where that share of all is."""
        if not rate:
            return False, False
        digest = blake2b(f"{self.name} {operation} {key} {attempt}".encode(), digest_size=8).digest()
        lost = int.from_bytes(digest[:7], "big") / 2**56 < rate
        return lost and digest[7] % 2 == 0, lost and digest[7] % 2 == 1

    def _count(self, operation: str, keys: Sequence[str]) -> dict[str, int]:
        """The how-manieth request of its kind this is, for each key."""
        if not keys:
            return {}
        with connections["payments"].cursor() as cursor:
            cursor.execute(COUNT, [self.name, operation, sorted(set(keys))])
            return dict(cursor.fetchall())

    def _book(self, kind: str, entries: Sequence[tuple[str, int, str]]) -> None:
        """Write ledger entries; one that is there already stays as it is."""
        insert_rows(
            GatewayLedger,
            (
                {"gateway": self.name, "key": key, "kind": kind, "amount": amount, "currency": currency}
                for key, amount, currency in sorted(entries)
            ),
            then="ON CONFLICT DO NOTHING",
        )

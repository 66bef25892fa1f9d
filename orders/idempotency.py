"""`Idempotency-Key`: a request that comes again gets the first one's order, and its answer.

The key is written in the order's own transaction, with the answer. So there is no moment at which an order exists and
its key does not: who sends again after a crash gets the order that was placed. A request that placed no order leaves
its key unused.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from drf_spectacular.utils import OpenApiParameter
from rest_framework.utils.encoders import JSONEncoder

from fastdb.bulk import insert_rows
from orders.models import IdempotencyKey, Order
from orders.serializers import answer_of
from sagas.db.prepared import query
from sagas.retention import delete_portion
from shop.api.problems import InvalidInput, Problem

HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x20-\x7e]{1,255}")
ACCEPTED = 202

# Of nearly every request nothing is known: two queries composed by the ORM were half of what an order took.
IS_KNOWN = "SELECT 1 FROM orders_idempotencykey WHERE user_id = %s AND key = %s"
LOCK = "SELECT pg_try_advisory_xact_lock(%s)"


class KeyReused(Problem):
    """This Idempotency-Key has already come with another order. Give each order a key of its own."""

    code = "C009"
    status_code = 422


class InFlight(Problem):
    """A request with this Idempotency-Key is being worked on. Ask again shortly."""

    code = "C009"
    wait = 1


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A user's request that names itself with a key."""

    user_id: int
    key: str
    request_hash: str

    def order(self) -> Order | None:
        """The order that this request has already placed, with its `idempotency_key`. Raises `KeyReused`."""
        if not query("orders", IS_KNOWN, [self.user_id, self.key]):
            return None
        known = IdempotencyKey.objects.select_related("order").filter(user_id=self.user_id, key=self.key).first()
        if known is None:
            return None
        if known.request_hash != self.request_hash:
            raise KeyReused
        return known.order

    def take(self) -> Order | None:
        """Hold the key until the transaction on orders ends; the order, if another one was just faster.

        Raises `InFlight` while somebody else holds it, and `KeyReused`.
        """
        digest = hashlib.sha256(f"{HEADER}:{self.user_id}:{self.key}".encode()).digest()
        ((is_free,),) = query("orders", LOCK, [int.from_bytes(digest[:8], signed=True)])
        if not is_free:
            raise InFlight
        return self.order()  # a statement of its own: it has to see what was committed before the lock was free

    def keep(self, order: Order) -> None:
        """Write down, in the order's transaction, that this request was answered with 202 and this order."""
        row = {
            "user_id": self.user_id,
            "key": self.key,
            "request_hash": self.request_hash,
            "order_id": order.pk,
            "status": ACCEPTED,
            "answer": _text(order),
        }
        insert_rows(IdempotencyKey, [row])
        order.idempotency_key = IdempotencyKey(**row)


def claim(headers: Mapping[str, str], *, user_id: int, wanted: Mapping[str, Any]) -> Claim | None:
    """The claim of a request with an `Idempotency-Key`; None without one. Raises `InvalidInput` for one that is none.

    `wanted` is the validated request, whichever way it was spelled, with whose order it is to be.
    """
    if headers.get(HEADER) is None:
        return None
    return Claim(user_id=user_id, key=key_of(headers), request_hash=hash_of(wanted))


def key_of(headers: Mapping[str, str]) -> str:
    """The name of a request that has one. Raises `InvalidInput`."""
    key = headers.get(HEADER, "")
    if not KEY.fullmatch(key):
        reason = "1 to 255 printable ASCII characters."
        raise InvalidInput(errors=[{"field": HEADER, "value": None, "reason": reason}])
    return key


def named(what: str, *, required: bool = False, effect: str = "sent again, it is not made twice") -> OpenApiParameter:
    """The header, as the API's description shows it: `effect` is what it does."""
    return OpenApiParameter(
        HEADER,
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        OpenApiParameter.HEADER,
        required=required,
        description=f"Your name for this {what}: {effect}.",
    )


def hash_of(wanted: Mapping[str, Any]) -> str:
    """What tells a request from another one with the same key."""
    return hashlib.sha256(msgspec.json.encode(wanted, order="deterministic")).hexdigest()


def replace_answer(order: Order, *, status: int) -> None:
    """From now on answer the request with this status and the order as it is: what it waited for has happened."""
    row = order.idempotency_key
    row.status, row.answer = status, _text(order)
    row.save(update_fields=["status", "answer"])


def purge(before: datetime) -> int:
    """Forget one portion of the keys from before; how many."""
    return delete_portion("orders", IdempotencyKey._meta.db_table, "created_at < %s", [before])


def _text(order: Order) -> str:
    return JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode(answer_of(order))

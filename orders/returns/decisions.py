"""What staff decide about a return, each of it in the staff log. What follows is up to its saga."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import transaction

from fastdb.bulk import update_rows
from fastdb.clock import database_time
from orders.returns import rules
from orders.returns.models import Return, Status
from orders.returns.requests import allow, check_pieces, locked
from orders.returns.settling import ask_for_refunds
from orders.returns.transitions import move
from sagas import emit
from sagas.crash_points import crash_point
from shop import stafflog
from shop.api.problems import InvalidInput
from shop.contracts.return_events import (
    Inspected,
    ReturnApproved,
    ReturnCompleted,
    ReturnEvent,
    ReturnInspected,
    ReturnReceived,
    ReturnRefused,
)
from shop.observability.tracing import current_trace

TO_BE_RECEIVED = (Status.APPROVED, Status.LOST, Status.WITHDRAWN, Status.EXPIRED)
TO_BE_INSPECTED = (Status.RECEIVED, Status.LOST)


class Found(NamedTuple):
    """What became of a product's pieces: back on the shelf, not to be sold again, or not taken back."""

    accepted: int
    written_off: int
    rejected: int


def approve(return_id: int) -> Return:
    """Have a carrier bring the parcel. Raises `UnknownReturn`, `NotNow`."""
    with transaction.atomic(using="orders", durable=True):
        return_ = locked(return_id)
        allow(return_, [Status.REQUESTED])
        _enter(return_, ReturnApproved(**_about(return_), user_id=return_.user_id), Status.APPROVED, "approve")
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(return_)


def refuse(return_id: int, *, reason: str) -> Return:
    """Take nothing back, and tell the customer why. Raises `UnknownReturn`, `NotNow`."""
    with transaction.atomic(using="orders", durable=True):
        return_ = locked(return_id)
        allow(return_, [Status.REQUESTED])
        Return.objects.filter(pk=return_id).update(refusal=reason)
        _enter(
            return_, ReturnRefused(**_about(return_), user_id=return_.user_id), Status.REFUSED, "refuse", reason=reason
        )
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(return_)


def receive(return_id: int) -> Return:
    """The parcel is here, whatever its carrier says: also one that nobody expected any more, as long as its pieces are
    in no other return.

    Raises `UnknownReturn`, `NotNow`, `NotSoMany`.
    """
    with transaction.atomic(using="orders", durable=True):
        return_ = locked(return_id)
        allow(return_, TO_BE_RECEIVED)
        if return_.status in (Status.WITHDRAWN, Status.EXPIRED):
            check_pieces(return_.order_id, {line.product_id: line.quantity for line in return_.lines})
        _enter(return_, ReturnReceived(**_about(return_), user_id=return_.user_id), Status.RECEIVED, "receive")
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(return_)


def inspect(return_id: int, found: Mapping[int, Found]) -> Return:
    """Say what was found of each product. Stock and money follow: the amount is settled here, by the prices of the
    order and the owner's rule. Of an exchange, nothing is due as long as the other order may arrive.

    Raises `UnknownReturn`, `NotNow`, and `InvalidInput` unless each line is named with all its pieces.
    """
    with transaction.atomic(using="orders", durable=True):
        return_ = locked(return_id)
        allow(return_, TO_BE_INSPECTED)
        _check(return_, found)
        for line in return_.lines:
            line.accepted, line.written_off, line.rejected = found[line.product_id]
        update_rows(return_.lines, "accepted", "written_off", "rejected")
        amount = (
            sum(line.unit_price * line.taken_back for line in return_.lines)
            if return_.kind == Return.Kind.REFUND
            else 0
        )
        kept = rules.keeps(return_, amount)
        Return.objects.filter(pk=return_id).update(refund_due=amount - kept, kept=kept)
        lines = tuple(Inspected(line.product_id, line.accepted, line.written_off) for line in return_.lines)
        counted = {f"product {product_id}": str(pieces._asdict()) for product_id, pieces in found.items()}
        _enter(
            return_,
            ReturnInspected(**_about(return_), lines=lines),
            Status.SETTLING,
            "inspect",
            refund=amount - kept,
            **counted,
        )
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(return_)


def refund_again(return_id: int, *, amount: int) -> Return:
    """After a refusal: have so much refunded, at most what is due; or nothing, when that is settled in another way.

    Raises `UnknownReturn`, `NotNow`, and `InvalidInput` for more than is due.
    """
    with transaction.atomic(using="orders", durable=True):
        return_ = locked(return_id)
        allow(return_, [Status.REFUND_REFUSED])
        due = return_.refund_due or 0
        if amount > due:
            raise InvalidInput(errors=[{"field": "amount", "value": amount, "reason": f"{due} are due."}])
        if amount:
            stafflog.record("orders", "refund again", f"return {return_id}", after={"amount": amount})
            now = database_time("orders")
            Return.objects.filter(pk=return_id).update(status=Status.SETTLING, progress_at=now, updated_at=now)
            ask_for_refunds([(return_, amount, None)])
        else:
            done = ReturnCompleted(**_about(return_), user_id=return_.user_id, amount=0, currency=return_.currency)
            _enter(return_, done, Status.COMPLETED, "complete without a refund")
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(return_)


def _check(return_: Return, found: Mapping[int, Found]) -> None:
    quantities = {line.product_id: line.quantity for line in return_.lines}
    if wrong := {
        product_id
        for product_id in quantities.keys() | found.keys()
        if sum(found.get(product_id, Found(0, 0, 0))) != quantities.get(product_id)
    }:
        wanted = ", ".join(f"{count} of product {product_id}" for product_id, count in sorted(quantities.items()))
        reason = f"Say of all pieces what was found: {wanted}."
        raise InvalidInput(errors=[{"field": "items", "value": sorted(wrong), "reason": reason}])


def _enter(return_: Return, event: ReturnEvent, to: str, action: str, **details: object) -> None:
    move([event], since=[return_.status], to=to)
    after = {"status": str(to), **details}
    stafflog.record("orders", action, f"return {return_.pk}", before={"status": return_.status}, after=after)
    emit(event, service="orders")


def _about(return_: Return) -> dict[str, Any]:
    return {"order_id": return_.order_id, "return_id": return_.pk, "trace": current_trace()}


def _again(return_: Return) -> Return:
    return Return.objects.get(pk=return_.pk)

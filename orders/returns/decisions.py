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
        of = locked(return_id)
        allow(of, [Status.REQUESTED])
        _enter(of, ReturnApproved(**_about(of), user_id=of.user_id), Status.APPROVED, "approve")
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(of)


def refuse(return_id: int, *, reason: str) -> Return:
    """Take nothing back, and tell the customer why. Raises `UnknownReturn`, `NotNow`."""
    with transaction.atomic(using="orders", durable=True):
        of = locked(return_id)
        allow(of, [Status.REQUESTED])
        Return.objects.filter(pk=return_id).update(refusal=reason)
        _enter(of, ReturnRefused(**_about(of), user_id=of.user_id), Status.REFUSED, "refuse", reason=reason)
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(of)


def receive(return_id: int) -> Return:
    """The parcel is here, whatever its carrier says: also one that nobody expected any more, as long as its pieces are
    in no other return.

    Raises `UnknownReturn`, `NotNow`, `NotSoMany`.
    """
    with transaction.atomic(using="orders", durable=True):
        of = locked(return_id)
        allow(of, TO_BE_RECEIVED)
        if of.status in (Status.WITHDRAWN, Status.EXPIRED):
            check_pieces(of.order_id, {line.product_id: line.quantity for line in of.lines})
        _enter(of, ReturnReceived(**_about(of), user_id=of.user_id), Status.RECEIVED, "receive")
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(of)


def inspect(return_id: int, found: Mapping[int, Found]) -> Return:
    """Say what was found of each product. Stock and money follow: the amount is settled here, by the prices of the
    order and the owner's rule. Of an exchange, nothing is due as long as the other order may arrive.

    Raises `UnknownReturn`, `NotNow`, and `InvalidInput` unless each line is named with all its pieces.
    """
    with transaction.atomic(using="orders", durable=True):
        of = locked(return_id)
        allow(of, TO_BE_INSPECTED)
        _check(of, found)
        for line in of.lines:
            line.accepted, line.written_off, line.rejected = found[line.product_id]
        update_rows(of.lines, "accepted", "written_off", "rejected")
        amount = sum(line.unit_price * line.taken_back for line in of.lines) if of.kind == Return.Kind.REFUND else 0
        kept = rules.keeps(of, amount)
        Return.objects.filter(pk=return_id).update(refund_due=amount - kept, kept=kept)
        lines = tuple(Inspected(line.product_id, line.accepted, line.written_off) for line in of.lines)
        counted = {f"product {product_id}": str(one._asdict()) for product_id, one in found.items()}
        _enter(
            of, ReturnInspected(**_about(of), lines=lines), Status.SETTLING, "inspect", refund=amount - kept, **counted
        )
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(of)


def refund_again(return_id: int, *, amount: int) -> Return:
    """After a refusal: have so much refunded, at most what is due; or nothing, when that is settled in another way.

    Raises `UnknownReturn`, `NotNow`, and `InvalidInput` for more than is due.
    """
    with transaction.atomic(using="orders", durable=True):
        of = locked(return_id)
        allow(of, [Status.REFUND_REFUSED])
        due = of.refund_due or 0
        if amount > due:
            raise InvalidInput(errors=[{"field": "amount", "value": amount, "reason": f"{due} are due."}])
        if amount:
            stafflog.record("orders", "refund again", f"return {return_id}", after={"amount": amount})
            now = database_time("orders")
            Return.objects.filter(pk=return_id).update(status=Status.SETTLING, progress_at=now, updated_at=now)
            ask_for_refunds([(of, amount, None)])
        else:
            done = ReturnCompleted(**_about(of), user_id=of.user_id, amount=0, currency=of.currency)
            _enter(of, done, Status.COMPLETED, "complete without a refund")
        crash_point("return_decision.written")
    crash_point("return_decision.committed")
    return _again(of)


def _check(of: Return, found: Mapping[int, Found]) -> None:
    quantities = {line.product_id: line.quantity for line in of.lines}
    if wrong := {
        product_id
        for product_id in quantities.keys() | found.keys()
        if sum(found.get(product_id, Found(0, 0, 0))) != quantities.get(product_id)
    }:
        wanted = ", ".join(f"{count} of product {product_id}" for product_id, count in sorted(quantities.items()))
        reason = f"Say of all pieces what was found: {wanted}."
        raise InvalidInput(errors=[{"field": "items", "value": sorted(wrong), "reason": reason}])


def _enter(of: Return, event: ReturnEvent, to: str, action: str, **details: object) -> None:
    move([event], since=[of.status], to=to)
    after = {"status": str(to), **details}
    stafflog.record("orders", action, f"return {of.pk}", before={"status": of.status}, after=after)
    emit(event, service="orders")


def _about(of: Return) -> dict[str, Any]:
    return {"order_id": of.order_id, "return_id": of.pk, "trace": current_trace()}


def _again(of: Return) -> Return:
    return Return.objects.get(pk=of.pk)

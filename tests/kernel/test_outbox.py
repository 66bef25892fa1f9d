"""The outbox: an event is there if and only if its cause is, once, and can be published again."""

import pytest
from django.db import connections, transaction

from inventory.models import Outbox, Unsent
from sagas import emit
from sagas.events import encode, uuid7
from sagas.outbox import rearm
from shop.contracts.events import PaymentRefunded
from tests.support.locks import take_turns
from tests.support.sagas import emit_in_transaction

pytestmark = pytest.mark.django_db(databases=["inventory"])


def refunded(order_id: int, **fields: object) -> PaymentRefunded:
    return PaymentRefunded(order_id=order_id, reason="r", **fields)


def unsent() -> list[int]:
    return list(Unsent.objects.order_by("pk").values_list("outbox__correlation_id", flat=True))


def test_an_event_is_written_with_all_that_is_known_of_it():
    event = refunded(7, caused_by=uuid7())

    emit_in_transaction(event)

    row = Outbox.objects.get()
    assert (row.event_id, row.event_type, row.correlation_id) == (event.event_id, "PaymentRefunded", 7)
    assert (row.caused_by, row.payload) == (event.caused_by, encode(event))
    assert unsent() == [7]


def test_outside_a_transaction_nothing_can_be_emitted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections["inventory"], "in_atomic_block", False)  # as it is outside of a test's own
    with pytest.raises(transaction.TransactionManagementError, match="atomic\\(using='inventory'\\)"):
        emit(refunded(1), service="inventory")


def test_what_is_rolled_back_was_never_emitted():
    with transaction.atomic(using="inventory"):
        emit(refunded(1), service="inventory")
        transaction.set_rollback(True, using="inventory")

    assert (Outbox.objects.count(), Unsent.objects.count()) == (0, 0)


def test_a_sagas_events_are_published_again_and_no_other():
    emit_in_transaction(refunded(1), refunded(2), refunded(1))
    Unsent.objects.all().delete()

    assert rearm("inventory", [1]) == 2
    assert rearm("inventory", [1]) == 2  # also if they wait already

    assert unsent() == [1, 1]


@pytest.mark.django_db(databases=["inventory"], transaction=True)
def test_events_are_published_again_in_the_order_of_their_ids():
    """In another order, two who publish the same ones again at once would be a deadlock."""
    for pk in (2, 1):  # so they lie on the disk
        Outbox.objects.create(pk=pk, event_id=uuid7(), event_type="E", correlation_id=pk, payload={})
    rearm("inventory", [1, 2])

    again = take_turns(
        "inventory",
        lambda: rearm("inventory", [1]),
        lambda: rearm("inventory", [1, 2]),
        lambda: rearm("inventory", [2]),
    )

    assert (again, unsent()) == (2, [1, 2])


def test_followers_of_redelivered_events_are_published_again():
    cause = uuid7()
    emit_in_transaction(refunded(1, caused_by=cause), refunded(2, caused_by=uuid7()), refunded(3))
    Unsent.objects.all().delete()

    assert rearm("inventory", causes=[cause]) == 1

    assert unsent() == [1]

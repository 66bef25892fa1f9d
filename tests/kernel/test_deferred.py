"""Deferred delivery: small batches reach deferrable steps later, large ones at once, and none is lost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from delivery.models import DeadLetter, Inbox, Outbox
from sagas import emit
from sagas.events import encode
from sagas.execution import execute
from sagas.outbox import rearm
from sagas.publisher import SMALL
from sagas.registry import STEPS
from sagas.relay import publish_deferred, publish_outbox
from sagas.testing import Bus, Crash, calling
from sagas.testing.bus import waits
from shop.contracts.events import Checkout, DeliveryCompleted, Line, OrderEvent, PaymentCompleted
from tests.support.sagas import crash_at

pytestmark = pytest.mark.django_db(databases=["delivery"])

START = STEPS["delivery.start_delivery"]
DEFERRABLE = ["orders.mark_started"]


def paid(count: int) -> list[PaymentCompleted]:
    checkout = Checkout(
        user_id=7, amount=1, currency="KRW", payment_gateway="KAKAO_PAY", payment_token="tok_ok", lines=(Line(1, 1),)
    )
    return [PaymentCompleted(order_id=order_id, checkout=checkout) for order_id in range(1, count + 1)]


def deliver(events: Sequence[OrderEvent]) -> None:
    execute(START, [encode(event) for event in events])


def arrive() -> None:
    with transaction.atomic(using="delivery"):
        emit(DeliveryCompleted(order_id=1, user_id=7, tracking_number="T1"), service="delivery")


def taken(bus: Bus) -> list[tuple[str, int]]:
    """What has been sent, sorted: (step, events in the message). It is not sent again."""
    messages = sorted((step, len(payload)) for step, payload in bus.messages)
    bus.messages.clear()
    return messages


def test_few_events_are_gathered_for_the_steps_that_can_wait(bus: Bus):
    for event in paid(3):
        deliver([event])
    assert (taken(bus), waits("delivery")) == ([], True)

    assert publish_deferred("delivery") == 3

    assert taken(bus) == [(step, 3) for step in DEFERRABLE]
    assert (publish_deferred("delivery"), waits("delivery"), taken(bus)) == (0, False, [])


def test_of_many_events_everybody_hears_at_once(bus: Bus):
    deliver(paid(SMALL))

    assert taken(bus) == [(step, SMALL) for step in DEFERRABLE]
    assert not waits("delivery")


def test_the_outbox_tells_who_cannot_wait_first(bus: Bus):
    arrive()

    assert (publish_outbox("delivery"), taken(bus)) == (1, [("orders.complete_order", 1)])
    assert (publish_deferred("delivery"), taken(bus)) == (1, [("notifications.notify", 1)])
    assert (publish_outbox("delivery"), publish_deferred("delivery"), taken(bus)) == (0, 0, [])


def test_an_event_that_is_only_owed_is_not_published_again_until_it_is_to_be(bus: Bus, settings: Any):
    settings.SAGAS = replace(
        settings.SAGAS, outbox_lease=-1
    )  # what keeps it from being claimed is not the lease of the first time
    arrive()
    assert (publish_outbox("delivery"), taken(bus)) == (1, [("orders.complete_order", 1)])
    assert (publish_outbox("delivery"), taken(bus)) == (0, [])

    assert rearm("delivery", [1]) == 1

    assert (publish_outbox("delivery"), taken(bus)) == (1, [("orders.complete_order", 1)])
    assert (publish_deferred("delivery"), taken(bus)) == (1, [("notifications.notify", 1)])
    assert (publish_outbox("delivery"), publish_deferred("delivery"), taken(bus)) == (0, 0, [])


def test_an_event_that_comes_again_is_told_again(bus: Bus):
    (event,) = paid(1)
    deliver([event])
    publish_deferred("delivery")
    taken(bus)

    deliver([event])

    assert taken(bus) == []
    assert (publish_deferred("delivery"), taken(bus)) == (1, [(step, 1) for step in DEFERRABLE])


@pytest.mark.parametrize("point", ["relay.claimed", "publisher.before_send", "publisher.confirmed", "relay.published"])
@pytest.mark.parametrize("happen", [lambda: deliver(paid(1)), lambda: (arrive(), publish_outbox("delivery"))])
def test_when_a_relay_dies_over_it_the_next_one_tells(bus: Bus, settings: Any, point: str, happen: Callable[[], Any]):
    settings.SAGAS = replace(settings.SAGAS, outbox_lease=-1)
    happen()
    taken(bus)
    with pytest.raises(Crash), calling(crash_at(point)):
        publish_deferred("delivery")
    told_before = {step for step, _ in taken(bus)}

    assert publish_deferred("delivery") == 1
    assert told_before | {step for step, _ in taken(bus)} <= {*DEFERRABLE, "notifications.notify"}
    assert not waits("delivery")


def test_what_another_relay_holds_is_left_alone(bus: Bus):
    deliver(paid(1))
    with pytest.raises(Crash), calling(crash_at("relay.claimed")):
        publish_deferred("delivery")

    assert (publish_deferred("delivery"), taken(bus)) == (0, [])


def test_what_the_broker_refused_is_told_later(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: Any) -> None:
        raise ConnectionResetError

    deliver(paid(1))
    monkeypatch.setattr(bus, "send", refuse)
    with pytest.raises(ConnectionResetError):
        publish_deferred("delivery")
    monkeypatch.undo()

    assert Inbox.objects.get().deferred_until <= timezone.now()
    assert (publish_deferred("delivery"), taken(bus)) == (1, [(step, 1) for step in DEFERRABLE])
    assert not Outbox.objects.exists()


def test_what_this_release_does_not_know_is_set_aside_alone(bus: Bus):
    """Emitted by the next release, and deferred when it was rolled back."""
    deliver(paid(3))
    row = Inbox.objects.get(correlation_id=2)
    Inbox.objects.filter(correlation_id=2).update(emitted=[{**row.emitted[0], "type": "DeliveryPostponed"}])

    assert publish_deferred("delivery") == 3

    assert taken(bus) == [(step, 2) for step in DEFERRABLE]
    letter = DeadLetter.objects.get()
    assert (letter.step, letter.event_type, letter.correlation_id) == ("relay", "DeliveryPostponed", 2)
    assert (publish_deferred("delivery"), waits("delivery"), taken(bus)) == (0, False, [])

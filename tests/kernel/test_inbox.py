"""The inbox: a step has handled an event once, and what it emitted then is there to be published again."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from delivery.models import DeadLetter, Inbox
from sagas import inbox
from sagas.registry import STEPS
from shop.contracts.events import DeliveryStarted, PaymentFailed
from tests.support.locks import take_turns
from tests.support.sagas import created

pytestmark = pytest.mark.django_db(databases=["delivery"])

STEP, OTHER = STEPS["delivery.start_delivery"], STEPS["delivery.cancel_delivery"]


def started(order_id: int) -> DeliveryStarted:
    return DeliveryStarted(order_id=order_id, user_id=7, tracking_number="T")


def test_what_was_handled_is_known_with_what_it_led_to():
    first, second, third = created(1), created(2), created(3)
    follower = started(1)

    inbox.record(STEP, [first, second], [[follower], []], defer=False)

    assert inbox.handled(STEP, [first, second, third]) == {first.event_id: [follower], second.event_id: []}
    assert inbox.handled(OTHER, [first]) == {}
    rows = Inbox.objects.order_by("correlation_id").values_list("correlation_id", "event_type", "repeats")
    assert list(rows) == [(1, "OrderCreated", 0), (2, "OrderCreated", 0)]


def test_an_event_is_handled_once_by_each_step():
    event = created(1)
    inbox.record(STEP, [event], [[]], defer=False)
    inbox.record(OTHER, [event], [[]], defer=False)

    with pytest.raises(IntegrityError), transaction.atomic(using="delivery"):
        inbox.record(STEP, [created(2), event], [[], []], defer=False)

    assert Inbox.objects.count() == 2


@pytest.mark.django_db(databases=["delivery"], transaction=True)
def test_the_same_events_are_recorded_in_the_same_order():
    """In another order, whoever handles the same message at the same time would be a deadlock."""
    first, second = sorted((created(1), created(2)), key=lambda event: event.event_id)

    with pytest.raises(IntegrityError, match=str(first.event_id)):
        take_turns(
            "delivery",
            lambda: inbox.record(STEP, [first], [[]], defer=False),
            lambda: inbox.record(STEP, [second, first], [[], []], defer=False),
            lambda: inbox.record(STEP, [second], [[]], defer=False),
        )

    assert Inbox.objects.count() == 2


def test_only_what_a_deferrable_step_hears_is_deferred():
    inbox.record(STEP, [created(1), created(2)], [[started(1)], [PaymentFailed(order_id=2, reason="r")]], defer=True)
    inbox.record(STEP, [created(3)], [[started(3)]], defer=False)

    rows = Inbox.objects.order_by("correlation_id").values_list("correlation_id", "deferred_until")
    assert [key for key, until in rows if until is not None] == [1]


def test_a_redelivery_is_counted_and_its_followers_deferred_again():
    with_followers, without = created(1), created(2)
    inbox.record(STEP, [with_followers, without], [[started(1)], []], defer=False)

    inbox.record_redelivery(STEP, [with_followers.event_id, without.event_id], defer=True)

    found = {row.correlation_id: row for row in Inbox.objects.all()}
    assert [found[1].repeats, found[2].repeats] == [1, 1]
    assert found[1].deferred_until <= timezone.now()
    assert found[2].deferred_until is None


@pytest.mark.parametrize("by", ["success", "redelivery"])
def test_a_dead_letter_is_resolved_by_its_steps_success(by: str):
    event = created(1)
    inbox.record(OTHER, [event], [[]], defer=False)
    if by == "redelivery":
        inbox.record(STEP, [event], [[]], defer=False)
    DeadLetter.objects.create(step=STEP.name, event_id=event.event_id, payload="{}", error="a bad day")
    assert DeadLetter.objects.filter(resolved_at=None).count() == 1

    if by == "success":
        inbox.record(STEP, [event], [[]], defer=False)
    else:
        inbox.record_redelivery(STEP, [event.event_id], defer=False)

    assert DeadLetter.objects.get().resolution == "HANDLED"

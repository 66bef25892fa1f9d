"""The publisher and the relay against RabbitMQ: what it did not confirm is not taken for sent. No process runs here."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import amqp.exceptions
import pytest
from celery import current_app
from django.apps import apps
from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone

from sagas import emit
from sagas.outages import OUTAGES
from sagas.publisher import broker, publish
from sagas.relay import publish_outbox
from shop.contracts.events import OrderEvent, PaymentFailed
from shop.saga import ORDER
from tests.support.proxy import Proxy
from tests.support.running_shop import Queues, Shop, events_in

RELAYS, ROWS = 4, 400


@pytest.fixture(autouse=True)
def _fresh_connection(shop: Shop) -> None:
    """Everything is declared anew by whoever publishes first."""
    broker.disconnect()


def failures(*order_ids: int) -> list[OrderEvent]:
    """Events that inventory and orders hear."""
    return [PaymentFailed(order_id=order_id, reason="PAY002: declined") for order_id in order_ids]


def write(*events: OrderEvent) -> None:
    with transaction.atomic(using="payments"):
        emit(*events, service="payments")


def unpublished() -> int:
    """Rows that any relay may take."""
    unsent = apps.get_model("payments.Unsent").objects
    return unsent.filter(Q(leased_until=None) | Q(leased_until__lt=timezone.now())).count()


def test_what_is_published_is_in_the_queue_of_everybody_who_hears_it(queues: Queues):
    events = failures(1, 2, 3)

    publish(events)

    for queue in ("inventory", "orders"):
        (message,) = queues.take(queue)
        assert [event["order_id"] for event in events_in([message])] == [1, 2, 3]
        assert message.properties["delivery_mode"] == 2
        assert message.headers["argsrepr"] == "3 × PaymentFailed (order 1, …)"
    assert queues.waiting("payments") == 0


def test_what_has_no_queue_is_not_lost(queues: Queues):
    publish(failures(1))
    queues.delete("orders")
    write(*failures(2))

    with pytest.raises(OUTAGES, match="NO_ROUTE"):
        publish_outbox("payments")

    assert unpublished() == 1
    assert publish_outbox("payments") == 1  # which declares the queue again
    assert [event["order_id"] for event in events_in(queues.take("orders"))] == [2]
    assert unpublished() == 0


def test_what_the_broker_refuses_is_not_lost(queues: Queues):
    publish(failures(1))
    write(*failures(2))
    accepted: list[OrderEvent] = []

    def fill() -> None:
        for event in failures(*[1] * 50):  # the limit is a soft one: it takes a few to reach it
            publish([event])
            accepted.append(event)

    with queues.full("orders", 1):
        with pytest.raises(OUTAGES) as refusal:
            fill()
        assert isinstance(refusal.value.__cause__, amqp.exceptions.MessageNacked)
        with pytest.raises(OUTAGES):
            publish_outbox("payments")
        assert len(queues.take("orders")) == len(accepted)

    assert unpublished() == 1
    assert publish_outbox("payments") == 1
    assert [event["order_id"] for event in events_in(queues.take("orders"))] == [2]


def test_a_broker_that_falls_silent_is_not_waited_for(
    queues: Queues, proxy: Proxy, broker_behind_proxy: str, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.SAGAS = replace(settings.SAGAS, confirm_timeout=0.5)
    monkeypatch.setattr(current_app.conf, "broker_write_url", broker_behind_proxy)
    publish(failures(1))
    write(*failures(2))
    proxy.fall_silent()
    try:
        with pytest.raises(OUTAGES, match="timed out"):
            publish_outbox("payments")
        assert unpublished() == 1
    finally:
        proxy.speak_again()

    assert publish_outbox("payments") == 1
    assert {event["order_id"] for event in events_in(queues.take("orders"))} == {1, 2}
    broker.disconnect()


def test_a_connection_that_is_cut_is_replaced(
    queues: Queues, proxy: Proxy, broker_behind_proxy: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(current_app.conf, "broker_write_url", broker_behind_proxy)
    publish(failures(1))
    assert proxy.cut() == 1

    with pytest.raises(OUTAGES):
        publish(failures(2))
    publish(failures(2))

    assert {event["order_id"] for event in events_in(queues.take("orders"))} == {1, 2}
    broker.disconnect()


def test_several_relays_publish_every_row_once(shop: Shop, queues: Queues, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sagas.relay.PORTION", 10)
    events = failures(*range(1, ROWS + 1))
    write(*events)
    start = Barrier(RELAYS)

    def relay() -> int:
        start.wait()
        relayed = 0
        while portion := publish_outbox("payments"):
            relayed += portion
        return relayed

    shares = in_threads(RELAYS, relay)

    assert sum(shares) == ROWS
    assert all(shares), shares
    expected = Counter(str(event.event_id) for event in events)
    for step in ORDER.heard_by[PaymentFailed]:
        found = Counter(event["event_id"] for event in events_in(queues.take(step.partition(".")[0])))
        assert found == expected


def in_threads(count: int, work: Callable[[], int]) -> list[int]:
    """What `work` returns in each of so many threads, which leave no connection behind."""

    def run(_: int) -> int:
        try:
            return work()
        finally:
            broker.disconnect()
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))

"""Messages that wait in a worker are merged, and acknowledged together: all of them, and no others."""

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from celery import current_app
from celery.exceptions import InvalidTaskError
from celery.worker import state
from kombu.message import Message

from sagas import serializer, worker
from sagas.conf import conf
from tests.support.sagas import created

RESERVE = "inventory.reserve_stock"


class Worker:
    """One whose processes begin with what `run` gives them. `settled` tells what the broker was told, by order."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.settled: list[tuple[Any, ...]] = []
        self.consumer = Mock(
            hub=Mock(),
            event_dispatcher=None,
            connection_errors=(),
            disable_rate_limits=True,
            task_buckets={},
            on_task_request=self.waiting.append,
        )
        self.consumer.controller.state = state
        self._take_in = worker.merge(current_app.tasks[RESERVE], current_app, self.consumer)

    def receive(
        self,
        *orders: int,
        body: bytes | None = None,
        kind: str = serializer.CONTENT_TYPE,
        again: bool = False,
        sender: str = "orders",
    ) -> None:
        """A message with events of these orders, from this user of the broker."""
        content = serializer.write((([created(order) for order in orders],), {}, {})) if body is None else body
        message = Message(
            body=content,
            content_type=kind,
            content_encoding="utf-8",
            headers={"task": RESERVE, "id": f"id of {orders}", "argsrepr": f"{len(orders)} × OrderCreated"},
            properties={"user_id": sender},
            delivery_info={"redelivered": again},
            accept=["application/json", serializer.CONTENT_TYPE],
            channel=Mock(),
        )

        def ack(*_: Any) -> None:
            self.settled.append(("ack", *orders))

        def reject(_logger: Any, _errors: Any, requeue: bool) -> None:
            self.settled.append(("requeue" if requeue else "reject", *orders))

        self._take_in(message, None, ack, reject, ())

    def run(self) -> tuple[Any, list[int]]:
        """A process is free: the request that has waited longest, and the orders of its events."""
        request, pool = self.waiting.pop(0), self.consumer.pool
        request.execute_using_pool(pool)
        _, _, _, body, content_type, _ = pool.apply_async.call_args.kwargs["args"]
        assert content_type in (serializer.CONTENT_TYPE, "application/json")
        ((events,), _, _) = json.loads(body)
        return request, [event["order_id"] for event in events]


@pytest.fixture
def busy() -> Iterator[Worker]:
    """A worker whose processes are all busy."""
    yield Worker()
    state.reset_state()


def test_messages_that_wait_for_a_process_are_one_and_are_acknowledged_together(busy: Worker):
    busy.receive(1)
    busy.receive(2, 3)
    busy.receive(4)

    request, orders = busy.run()

    assert orders == [1, 2, 3, 4]
    assert request.argsrepr == "1 × OrderCreated and 2 more messages"
    assert (busy.waiting, busy.settled) == ([], [])
    request.on_success((False, None, 0.1))
    request.on_success((False, None, 0.1))
    assert busy.settled == [("ack", 1), ("ack", 2, 3), ("ack", 4)]


def test_what_comes_when_a_batch_has_begun_is_not_acknowledged_with_it(busy: Worker):
    busy.receive(1)
    first, _ = busy.run()
    busy.receive(2)
    busy.receive(3)

    first.acknowledge()

    assert busy.settled == [("ack", 1)]
    second, orders = busy.run()
    assert orders == [2, 3]
    second.reject(requeue=True)
    assert busy.settled == [("ack", 1), ("requeue", 2), ("requeue", 3)]


def test_one_message_when_nothing_waits_is_handed_on_as_it_is(busy: Worker):
    busy.receive(1)

    request, orders = busy.run()

    assert (orders, request.argsrepr) == ([1], "1 × OrderCreated")


def test_nobodys_events_are_merged_into_somebody_elses_message(busy: Worker):
    """A step decides by the message's sender which of its events count."""
    busy.receive(1, sender="orders")
    busy.receive(2, sender="delivery")
    busy.receive(3, sender="orders")
    busy.receive(4, sender="delivery")

    first, second = busy.run(), busy.run()

    assert [first[1], second[1]] == [[1, 3], [2, 4]]
    assert [one[0].request_dict["properties"]["user_id"] for one in (first, second)] == ["orders", "delivery"]


@pytest.mark.parametrize(
    "alone", [{"again": True}, {"kind": "application/json"}], ids=["delivered before", "not written by the kernel"]
)
def test_some_messages_are_handled_alone(busy: Worker, alone: dict[str, Any]):
    """Above all one that comes again: it may be what killed the process."""
    busy.receive(1)
    busy.receive(2, **alone)
    busy.receive(3)

    assert [busy.run()[1], busy.run()[1]] == [[1, 3], [2]]


def test_a_batch_does_not_become_larger_than_is_of_use(busy: Worker, monkeypatch: pytest.MonkeyPatch):
    size = len(serializer.write((([created(1)],), {}, {})))
    monkeypatch.setattr(worker, "LARGE", 2 * size)
    for order in (1, 2, 3):
        busy.receive(order)

    assert [busy.run()[1], busy.run()[1]] == [[1, 2], [3]]


@pytest.mark.parametrize("body", [b"{not json", b"5", b'[["no list of events"], {}, {}]'])
def test_one_that_cannot_be_read_joins_no_other(busy: Worker, body: bytes):
    busy.receive(1)

    with pytest.raises(InvalidTaskError):  # which Celery rejects
        busy.receive(2, body=body)

    assert busy.run()[1] == [1]


def test_an_empty_message_harms_no_other(busy: Worker):
    busy.receive(1)
    busy.receive()
    busy.receive(2)

    assert busy.run()[1] == [1, 2]


def test_messages_are_fetched_ahead_only_after_one_that_is_new(busy: Worker):
    """Else one that kills its worker would use up the others' deliveries."""
    busy.receive(1, again=True)
    assert not busy.consumer.call_soon.called

    body = serializer.write((([created(2)],), {}, {}))
    busy.receive(2, body=body)
    busy.consumer.call_soon.assert_called_once_with(busy.consumer.fetch, len(body))


def test_how_far_a_worker_fetches_ahead_is_told_by_consuming_anew(monkeypatch: pytest.MonkeyPatch):
    """Not while large messages come: another worker may be free for them. Nor for each small one between them."""
    consumer = Mock(initial_prefetch_count=2, _fetching=(None, False), _large_at=-worker.CALM)
    told = consumer.task_consumer = Mock()
    ahead, large = 2 * conf().prefetch, worker.LARGE

    for now, size, count in ((0, 1, ahead), (1, 1, ahead), (2, large, 2), (2.5, 1, 2), (3, large, 2), (4, 1, ahead)):
        monkeypatch.setattr(worker, "time", Mock(monotonic=Mock(return_value=now)))
        worker.Consumer.fetch(consumer, size)
        assert told.qos.call_args.kwargs["prefetch_count"] == count

    assert [call[0] for call in told.mock_calls] == ["cancel", "qos", "consume"] * 3
    consumer.task_consumer = Mock()  # after a connection was lost: it begins with what Celery has told it
    worker.Consumer.fetch(consumer, 1)
    assert consumer.task_consumer.consume.called
    consumer.task_consumer = None  # it ends
    worker.Consumer.fetch(consumer, 1)


def test_a_worker_without_processes_takes_one_message_after_the_other(busy: Worker):
    busy.consumer.hub = None
    busy._take_in = worker.merge(current_app.tasks[RESERVE], current_app, busy.consumer)
    busy.receive(1)
    busy.receive(2)

    assert [busy.run()[1], busy.run()[1]] == [[1], [2]]

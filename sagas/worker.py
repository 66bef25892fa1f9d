"""What a Celery worker does differently under the kernel, beyond what settings can say.

Messages are merged where they wait. While all processes of a worker are busy, its messages wait in it; those for one
step are handed to the next free process as one, and acknowledged together when that is done. So a batch grows with the
load at every hop, and is one message when nothing waits. No timer is involved.

- What a process gets is an ordinary message with more events in it (`serializer.merged`), so a batch that fails is
  halved like any other, until the bad event fails alone.
- Only messages of one sender are merged, because a message names the one user of the broker that vouches for it.
- A message that has been delivered before is never merged. If a batch kills its process, each of its messages comes
  back and is handled by itself, and the one that kills is dead-lettered alone.
- A worker begins by fetching only as many messages as its processes can handle at once, and fetches ahead from the
  first message on that was never delivered before. Otherwise a message that kills the whole worker would use up the
  delivery limit of every message that waits beside it.
- It does not fetch ahead while large messages come: another worker may be free for them.
"""

import time
from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.request import Request
from celery.worker.state import task_reserved
from celery.worker.strategy import default
from kombu.exceptions import DecodeError

from sagas.conf import conf
from sagas.serializer import CONTENT_TYPE, merged

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
UNREADABLE = (DecodeError, LookupError, TypeError, ValueError, AttributeError)
LARGE = 200_000  # bytes: some 400 events. Larger messages gain nothing by being merged
CALM = 1.0  # seconds without a large message, after which a worker fetches ahead again

Handler = Callable[..., Any]  # of (message, body, ack, reject, callbacks)


class Consumer(CelerysConsumer):  # type: ignore[misc]  # Celery carries no types
    """Celery's consumer without what the kernel does not use: named in `worker_consumer`.

    For quorum queues Celery declares 28 queues and 29 exchanges for `countdown` and `eta` at every start; the kernel
    uses neither. By mingle and gossip workers tell each other about revoked tasks and that they are there, for which
    they would need rights beyond their own queue.
    """

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **options: Any) -> None:
        alone = {"without_mingle": True, "without_gossip": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **alone}, **options)
        self._fetching: tuple[Any, bool] = None, False
        self._large_at = -CALM  # when the last large message came

    class Blueprint(CelerysConsumer.Blueprint):  # type: ignore[misc]
        default_steps = [step for step in CelerysConsumer.Blueprint.default_steps if step != DELAYED_DELIVERY]

    def fetch(self, size: int) -> None:
        """Set the prefetch after a first-time message of `size` bytes: some messages that wait here, or only
        what the processes can begin while large ones come. A quorum queue takes a new prefetch only from a new
        consumer, which takes the broker some milliseconds: so not for each small message between large ones."""
        self._large_at = time.monotonic() if size >= LARGE else self._large_at
        ahead = time.monotonic() - self._large_at >= CALM
        if self.task_consumer and (self.task_consumer, ahead) != self._fetching:
            self._fetching = self.task_consumer, ahead  # another consumer after a connection was lost
            self.task_consumer.cancel()
            count = self.initial_prefetch_count * (conf().prefetch if ahead else 1)
            self.task_consumer.qos(prefetch_count=count, apply_global=False)
            self.task_consumer.consume()


class Batch(Request):  # type: ignore[misc]
    """A step's message, and those that have joined it while it waited for a process."""

    def __init__(self, message: Any, ack: Handler, reject: Handler, **options: Any) -> None:
        super().__init__(message, on_ack=self._ack_all, on_reject=self._reject_all, **options)
        self._members = [(message, ack, reject)]
        self._size, self._waits = len(message.body), True

    def join(self, message: Any, ack: Handler, reject: Handler) -> bool:
        """Take a message in, unless the batch has begun or would become too large; whether it was taken."""
        if joins := self._waits and self._size + len(message.body) <= LARGE:
            self._members.append((message, ack, reject))
            self._size += len(message.body)
        return joins

    def execute_using_pool(self, pool: Any, **options: Any) -> Any:
        """A process is free."""
        self._waits = False
        if more := len(self._members) - 1:
            self._body = merged([message.payload for message, *_ in self._members])
            self._argsrepr += f" and {more} more messages"
        self.send_event("task-received", name=self.name, args=self._argsrepr, kwargs="{}", root_id=self.root_id)
        return super().execute_using_pool(pool, **options)

    def _ack_all(self, *how: Any) -> None:
        for _, ack, _ in self._members:
            ack(*how)

    def _reject_all(self, *how: Any) -> None:
        for _, _, reject in self._members:
            reject(*how)


def merge(task: Any, app: Any, consumer: Any, **options: Any) -> Handler:
    """A Celery strategy, for steps: messages join one that waits. It is made anew for each connection to the broker."""
    take_alone = default(task, app, consumer, **options)
    about = {"task": task, "app": app, "hostname": consumer.hostname, "eventer": consumer.event_dispatcher}
    waiting: dict[str | None, Batch] = {}  # the newest batch of each sender, by the broker's user

    def take_in(message: Any, body: Any, ack: Handler, reject: Handler, callbacks: Any) -> None:
        message.decode()  # raises, if it cannot be read, before it joins others
        sender = message.properties.get("user_id")
        if message.content_type != CONTENT_TYPE or message.delivery_info.get("redelivered"):
            take_alone(message, body, ack, reject, callbacks)
        elif not (sender in waiting and waiting[sender].join(message, ack, reject)):
            waiting[sender] = batch = Batch(message, ack, reject, connection_errors=consumer.connection_errors, **about)
            task_reserved(batch)
            consumer.on_task_request(batch)
            consumer.call_soon(consumer.fetch, len(message.body))

    # Without an event loop (Celery's pools other than prefork) messages come one after the other.
    return _rejecting_unreadable(task, take_in if consumer.hub else take_alone)


def reject_unreadable(task: Any, *args: Any, **options: Any) -> Handler:
    """Celery's default strategy, except that a message it cannot read is rejected, so the broker dead-letters it."""
    return _rejecting_unreadable(task, default(task, *args, **options))


def _rejecting_unreadable(task: Any, take_in: Handler) -> Handler:
    """Celery drops a message that is not JSON. JSON of another shape, or without an id, ends the whole worker, then the
    next one, up to the queue's delivery limit."""

    def take_in_or_reject(message: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return take_in(message, *args, **kwargs)
        except UNREADABLE as error:
            raise InvalidTaskError(f"This message for {task.name} cannot be read: {error!r}") from error

    return take_in_or_reject

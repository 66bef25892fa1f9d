"""How a Celery worker is told to treat the kernel's messages, beyond what settings can say."""

from collections.abc import Callable
from functools import partial
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.strategy import default
from kombu.exceptions import DecodeError

from sagas.crash_points import crash_point

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
UNREADABLE = (DecodeError, LookupError, TypeError, ValueError, AttributeError)


class Consumer(CelerysConsumer):  # type: ignore[misc]  # Celery carries no types
    """Celery's consumer without delayed delivery: named in `worker_consumer`.

    For quorum queues Celery declares 28 queues and 29 exchanges for `countdown` and `eta`, in every vhost and at every
    start. The kernel sends nothing with either.
    """

    class Blueprint(CelerysConsumer.Blueprint):  # type: ignore[misc]
        default_steps = [step for step in CelerysConsumer.Blueprint.default_steps if step != DELAYED_DELIVERY]


def reject_unreadable(task: Any, *args: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, except that a message it cannot read is rejected, so the broker dead-letters it.

    Celery drops a message that is not JSON. JSON of another shape, or without an id, ends the whole worker, then the
    next one, up to the queue's delivery limit.
    """
    take_in = default(task, *args, **options)

    def take_in_or_reject(message: Any, *args: Any, **kwargs: Any) -> Any:
        message.ack, message.reject = partial(_acknowledge, message), partial(_reject, message)
        try:
            return take_in(message, *args, **kwargs)
        except UNREADABLE as error:
            raise InvalidTaskError(f"This message for {task.name} cannot be read: {error!r}") from error

    return take_in_or_reject


def _acknowledge(message: Any, *args: Any, **kwargs: Any) -> None:
    del message.ack, message.reject  # the instance attributes set above; the class's methods show again
    crash_point("worker.done")
    message.ack(*args, **kwargs)
    crash_point("worker.acknowledged")


def _reject(message: Any, *args: Any, **kwargs: Any) -> None:
    del message.ack, message.reject
    crash_point("worker.refused")
    message.reject(*args, **kwargs)
    crash_point("worker.rejected")

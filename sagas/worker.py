"""What a Celery worker does differently under the kernel, beyond what settings can say."""

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.strategy import default
from kombu.exceptions import DecodeError

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
UNREADABLE = (DecodeError, LookupError, TypeError, ValueError, AttributeError)


class Consumer(CelerysConsumer):  # type: ignore[misc]  # Celery carries no types
    """Celery's consumer without what the kernel does not use: named in `worker_consumer`.

    For quorum queues Celery declares 28 queues and 29 exchanges for `countdown` and `eta`, in every vhost and at every
    start. The kernel sends nothing with either. And workers would tell each other which tasks were revoked (mingle) and
    that they are there (gossip), for which they would need rights beyond their own queue.
    """

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **options: Any) -> None:
        alone = {"without_mingle": True, "without_gossip": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **alone}, **options)

    class Blueprint(CelerysConsumer.Blueprint):  # type: ignore[misc]
        default_steps = [step for step in CelerysConsumer.Blueprint.default_steps if step != DELAYED_DELIVERY]


def reject_unreadable(task: Any, *args: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, except that a message it cannot read is rejected, so the broker dead-letters it.

    Celery drops a message that is not JSON. JSON of another shape, or without an id, ends the whole worker, then the
    next one, up to the queue's delivery limit.
    """
    take_in = default(task, *args, **options)

    def take_in_or_reject(message: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return take_in(message, *args, **kwargs)
        except UNREADABLE as error:
            raise InvalidTaskError(f"This message for {task.name} cannot be read: {error!r}") from error

    return take_in_or_reject

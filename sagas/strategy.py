"""How a worker takes in a message that nobody can read: the broker sets it aside, and it becomes a dead letter.

Celery by itself drops a message that is not JSON, and for JSON of another shape than its own, or without an id, it
ends the whole worker, then the next one, up to the queue's delivery limit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default
from kombu.exceptions import DecodeError

from sagas.crash_points import crash_point

UNREADABLE = (DecodeError, LookupError, TypeError, ValueError, AttributeError)


def strict(task: Any, *args: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy for a task's messages, but for those it cannot read: these it is told to reject."""
    take_in = default(task, *args, **options)

    def take_in_or_reject(message: Any, *args: Any, **kwargs: Any) -> Any:
        message.ack, message.reject = partial(_acknowledge, message), partial(_reject, message)
        try:
            return take_in(message, *args, **kwargs)
        except UNREADABLE as error:
            raise InvalidTaskError(f"This message for {task.name} cannot be read: {error!r}") from error

    return take_in_or_reject


def _acknowledge(message: Any, *args: Any, **kwargs: Any) -> None:
    del message.ack, message.reject  # what it was given above: its class's methods are there again
    crash_point("worker.done")
    message.ack(*args, **kwargs)
    crash_point("worker.acknowledged")


def _reject(message: Any, *args: Any, **kwargs: Any) -> None:
    del message.ack, message.reject
    crash_point("worker.refused")
    message.reject(*args, **kwargs)
    crash_point("worker.rejected")

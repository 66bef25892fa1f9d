"""How a worker takes in a message that nobody can read: the broker sets it aside, and it becomes a dead letter.

Celery by itself drops a message that is not JSON, and for JSON of another shape than its own, or without an id, it
ends the whole worker, then the next one, up to the queue's delivery limit.
"""

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default
from kombu.exceptions import DecodeError

UNREADABLE = (DecodeError, LookupError, TypeError, ValueError, AttributeError)


def strict(task: Any, *args: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy for a task's messages, but for those it cannot read: these it is told to reject."""
    take_in = default(task, *args, **options)

    def take_in_or_reject(*args: Any, **kwargs: Any) -> Any:
        try:
            return take_in(*args, **kwargs)
        except UNREADABLE as error:
            raise InvalidTaskError(f"This message for {task.name} cannot be read: {error!r}") from error

    return take_in_or_reject

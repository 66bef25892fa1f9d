"""How many requests may wait for their payment (`Prefer: wait`) at once: each holds a thread of its process.

So many per process (`WAITERS`), so that threads are left for those who do not wait, and one per user, so that nobody
has all of them. Who finds no room is answered at once, as without the header: an order is never refused for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from django.conf import settings

_lock = Lock()
_waiting: set[int] = set()


@contextmanager
def room_for(user_id: int) -> Iterator[bool]:
    """Whether a user may wait; inside, the room is taken."""
    with _lock:
        free = len(_waiting) < settings.WAITERS and user_id not in _waiting
        if free:
            _waiting.add(user_id)
    try:
        yield free
    finally:
        if free:
            with _lock:
                _waiting.discard(user_id)

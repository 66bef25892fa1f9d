"""The distributed lock: keeps workers from piling up on the same rows.

It spares the database work and guards nothing: stock is guarded by row locks and CHECK constraints. So a lock that
cannot be had, because its wait is over or Redis is away, is logged and counted, and the work goes on without it. After
a failure Redis is not asked for `PAUSE` seconds: a machine that is gone does not even refuse a connection, so every
message would wait for the timeout.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

from django.conf import settings
from django_redis import get_redis_connection
from prometheus_client import Counter, Histogram
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

WITHOUT_LOCK = Counter("shop_lock_unavailable_total", "Work done without its distributed lock.", ["why"])
WAIT = Histogram("shop_lock_wait_seconds", "Waiting for a distributed lock, held in the end or not.", ["held"])

# All or none. A key that already holds our token counts as ours: the reply to a first try may have been lost.
ACQUIRE = """
for _, key in ipairs(KEYS) do
    local holder = redis.call('GET', key)
    if holder and holder ~= ARGV[1] then return 0 end
end
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1], 'PX', ARGV[2]) end
return 1
"""
RELEASE = """
local released = 0
for _, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[1] then released = released + redis.call('DEL', key) end
end
return released
"""
RETRY_PAUSE = 0.01  # seconds between tries, give or take a half
PAUSE = 5.0  # seconds without asking Redis after it failed

_ask_again_at = 0.0  # by the monotonic clock


@contextmanager
def holding(*keys: str, wait: float | None = None, lease: float | None = None) -> Iterator[bool]:
    """Hold all of `keys` within the block, taken together in one round trip; yields whether they are held.

    `wait` is how many seconds to try, `lease` after how many Redis frees a lock whose holder died
    (defaults: LOCK_WAIT, LOCK_LEASE).
    """
    token = uuid4().hex
    keys = tuple(f"{settings.PREFIX}{key}" for key in keys)
    held = bool(keys) and _acquire(
        keys, token, settings.LOCK_WAIT if wait is None else wait, settings.LOCK_LEASE if lease is None else lease
    )
    try:
        yield held
    finally:
        if held:
            _release(keys, token)


def distributed_lock(
    keys_of: Callable[P, list[str]], *, wait: float | None = None, lease: float | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function to run while `holding` the keys that `keys_of` makes of its arguments."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with holding(*keys_of(*args, **kwargs), wait=wait, lease=lease):
                return function(*args, **kwargs)

        return call

    return decorate


def _acquire(keys: tuple[str, ...], token: str, wait: float, lease: float) -> bool:
    global _ask_again_at
    began = time.monotonic()
    give_up_at = began + wait
    if began < _ask_again_at:
        WITHOUT_LOCK.labels("redis_away").inc()
        return False
    try:
        redis = get_redis_connection("locks")
        arguments: list[Any] = [*sorted(set(keys)), token, int(lease * 1000)]
        while not redis.eval(ACQUIRE, len(arguments) - 2, *arguments):
            if time.monotonic() >= give_up_at:
                WITHOUT_LOCK.labels("timeout").inc()
                WAIT.labels("no").observe(wait)
                logger.warning("Waited %.1f s for %s; going on with the database's locks alone", wait, ", ".join(keys))
                return False
            time.sleep(RETRY_PAUSE * random.uniform(0.5, 1.5))
    except RedisError as error:
        WITHOUT_LOCK.labels("redis_away").inc()
        _ask_again_at = time.monotonic() + PAUSE
        logger.warning("Redis is away (%s); going on with the database's locks alone for %.0f s", error, PAUSE)
        return False
    WAIT.labels("yes").observe(time.monotonic() - began)
    return True


def _release(keys: tuple[str, ...], token: str) -> None:
    """Failing here must not undo the work that was done: the lease ends by itself."""
    try:
        names = sorted(set(keys))
        if get_redis_connection("locks").eval(RELEASE, len(names), *names, token) < len(names):
            logger.warning("The lease on %s had ended before the work did", ", ".join(names))
    except RedisError as error:
        logger.warning("Could not release %s (%s); the lease will end by itself", ", ".join(keys), error)

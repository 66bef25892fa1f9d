"""So many requests a minute, counted in Redis for all processes together.

A throttle keeps others' share for them; it guards nothing else. So while Redis is away requests pass, counted in a
metric. After it has failed it is left alone for a moment, so that few requests wait for an answer that does not come.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar

from django.conf import settings
from django_redis import get_redis_connection
from prometheus_client import Counter
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

logger = logging.getLogger(__name__)

UNTHROTTLED = Counter("shop_throttle_unavailable_total", "Requests that passed because Redis was away.", ["scope"])
REFUSED = Counter("shop_throttled_total", "Requests that were refused because there were too many.", ["scope"])

WINDOW = 60_000  # milliseconds
SHARE = 20  # a process takes so much of a limit at once: asking Redis costs about as much as one statement in SQL
MANY = 10_000  # leases, from which on those that have ended are forgotten
PAUSE = 5.0  # seconds in which Redis is not asked after it has failed
TAKE = """
local taken = redis.call('INCRBY', KEYS[1], ARGV[1])
if taken == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {taken, redis.call('PTTL', KEYS[1])}
"""


@dataclass
class Lease:
    """What a process may still let pass without asking, and until when (on the monotonic clock)."""

    left: int
    until: float


class Throttle(BaseThrottle):
    """POST requests within a minute: so many of each user, or of each address where there is no user.

    A subclass says under which name in `settings.THROTTLES` its rate is; 0 is no limit. A process takes some of it at a
    time, so that somebody who comes to many processes may be refused a little early, and never late.
    """

    scope: str
    clock: Callable[[], float] = staticmethod(time.monotonic)

    # Of all throttles in this process. Who shares a mutex waits: fifty requests at once are not to take fifty shares.
    leases: ClassVar[dict[str, Lease]] = {}
    mutexes: ClassVar[list[Lock]] = [Lock() for _ in range(64)]
    ask_again_at: ClassVar[float] = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        rate = settings.THROTTLES[self.scope]
        if request.method != "POST" or not rate:
            return True
        key = f"throttle:{self.scope}:{self._who(request)}"
        with self.mutexes[hash(key) % len(self.mutexes)]:
            if self._has_left(key) or self._takes(key, rate):
                return True
        REFUSED.labels(self.scope).inc()
        return False

    def wait(self) -> float:
        """Seconds until the next try."""
        return self.seconds_left

    def _who(self, request: Request) -> str:
        user_id = getattr(request.user, "pk", None)
        return f"user {user_id}" if user_id else str(self.get_ident(request))

    def _has_left(self, key: str) -> bool:
        lease = self.leases.get(key)
        if not lease or not lease.left or lease.until <= self.clock():
            return False
        lease.left -= 1
        return True

    def _takes(self, key: str, rate: int) -> bool:
        """Take some more of the limit, and one of that; False when there is no more."""
        now = self.clock()
        if now >= Throttle.ask_again_at:
            wanted = max(1, rate // SHARE)
            try:
                taken, left = get_redis_connection("default").eval(TAKE, 1, key, wanted, WINDOW)
            except RedisError as error:
                Throttle.ask_again_at = self.clock() + PAUSE
                logger.warning("Redis is away (%s); nobody is throttled for %.0f s", error, PAUSE)
            else:
                self.seconds_left = left / 1000
                granted = min(wanted, rate - (taken - wanted))
                if granted > 1:
                    self._keep(key, Lease(granted - 1, now + self.seconds_left))
                return granted > 0
        UNTHROTTLED.labels(self.scope).inc()
        return True

    def _keep(self, key: str, lease: Lease) -> None:
        if len(self.leases) > MANY:
            now = self.clock()
            for name, one in list(self.leases.items()):
                if one.until <= now:
                    self.leases.pop(name, None)
        self.leases[key] = lease


class TokenThrottle(Throttle):
    """Signing in: guessing passwords is to take its time."""

    scope = "tokens"


class SignUpThrottle(Throttle):
    """Opening accounts."""

    scope = "sign-ups"


class OrderThrottle(Throttle):
    """Placing orders."""

    scope = "orders"

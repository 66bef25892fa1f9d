"""Limits requests per minute, counted in Redis for all processes together.

A throttle only shares capacity fairly, so requests pass while Redis is down, and a metric counts them. After a failure
Redis is not asked for `PAUSE` seconds, so that few requests wait for its timeout.
"""

import ipaddress
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
LEASES = 20  # parts of a limit: a process leases one at a time, as asking Redis costs as much as a SQL statement
MANY = 10_000  # leases, beyond which expired ones are removed
PAUSE = 5.0  # seconds without asking Redis after it failed
TAKE = """
local taken = redis.call('INCRBY', KEYS[1], ARGV[1])
if taken == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {taken, redis.call('PTTL', KEYS[1])}
"""


def sender(request: Any) -> str:
    """Return the client address to count by: for IPv6 the /64, all of which belongs to one client."""
    ident = str(BaseThrottle().get_ident(request))
    try:
        address = ipaddress.ip_address(ident)
    except ValueError:
        return ident
    if isinstance(address, ipaddress.IPv4Address):
        return ident
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), 64), strict=False))


@dataclass
class Lease:
    """How many requests a process may let pass without asking Redis, and until when (monotonic clock)."""

    left: int
    until: float


class Throttle(BaseThrottle):
    """Limits requests per minute and user, or per IP address (IPv6: /64) for anonymous requests.

    `methods` are those of requests that may count, and `counts` says whether one does. `scope` names the rate in
    `settings.THROTTLES`; 0 means unlimited. Each process leases a part of the rate, so a user whose requests reach many
    processes may be refused slightly early, but never late.
    """

    scope: str
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    clock: Callable[[], float] = staticmethod(time.monotonic)

    # Shared by all throttles of this process. The mutexes keep fifty concurrent requests from taking fifty leases.
    leases: ClassVar[dict[str, Lease]] = {}
    mutexes: ClassVar[list[Lock]] = [Lock() for _ in range(64)]
    ask_again_at: ClassVar[float] = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        rate = settings.THROTTLES[self.scope]
        if not rate or not self.counts(request):
            return True
        key = f"{settings.PREFIX}throttle:{self.scope}:{self._who(request)}"
        with self.mutexes[hash(key) % len(self.mutexes)]:
            if self._has_left(key) or self._takes(key, rate):
                return True
        REFUSED.labels(self.scope).inc()
        return False

    def counts(self, request: Request) -> bool:
        return ("GET" if request.method == "HEAD" else request.method) in self.methods  # they cost the same

    def wait(self) -> float:
        """Seconds until the limit resets."""
        return self.seconds_left

    def _who(self, request: Request) -> str:
        user_id = getattr(request.user, "pk", None)
        return f"user {user_id}" if user_id else sender(request)

    def _has_left(self, key: str) -> bool:
        lease = self.leases.get(key)
        if not lease or not lease.left or lease.until <= self.clock():
            return False
        lease.left -= 1
        return True

    def _takes(self, key: str, rate: int) -> bool:
        """Lease more of the limit and use one request of it. False if the limit is used up."""
        now = self.clock()
        if now >= Throttle.ask_again_at:
            wanted = max(1, rate // LEASES)
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
    """Signing in. Slows down password guessing."""

    scope = "tokens"


class SignUpThrottle(Throttle):
    """Opening accounts."""

    scope = "sign-ups"


class LetterThrottle(Throttle):
    """Requesting an e-mail about an account, such as a password reset."""

    scope = "letters"


SEARCH = "search"  # the parameter


class SearchThrottle(Throttle):
    """Searching a list: it costs more than reading one."""

    scope = "searches"
    methods = ("GET",)

    def counts(self, request: Request) -> bool:
        return super().counts(request) and SEARCH in request.query_params


class OrderThrottle(Throttle):
    """Placing orders."""

    scope = "orders"


class ExportThrottle(Throttle):
    """Exporting one's personal data, for which every service searches its tables."""

    scope = "exports"
    methods = ("GET",)

"""The circuit breaker: stops calling a service that keeps failing, then probes it with a few calls.

    breaker.call(function)    raises CircuitOpen without calling, while the circuit is open
    breaker.admit()           for callers that make the call themselves: returns a ticket for `report`, or raises

closed       Calls pass. Opens when, of the last `window` calls (at least `minimum`), a share of `failure_rate` failed.
open         Calls are refused for `open_for` seconds.
half open    `trials` calls pass, others are refused. Closes if all succeed, opens again with the first failure.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from django.conf import settings
from prometheus_client import Counter, Gauge

from sagas.outages import Unavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLOSED, HALF_OPEN, OPEN = "closed", "half open", "open"
STATE = Gauge(
    "shop_breaker_state", "0: calls pass. 1: a few are tried. 2: none passes.", ["name"], multiprocess_mode="livemax"
)
OPENED = Counter("shop_breaker_opened_total", "How often a circuit was opened.", ["name"])
REFUSED = Counter("shop_breaker_refused_total", "Calls that were not made because the circuit was open.", ["name"])


class CircuitOpen(Unavailable):
    """The call was not made: too many recent calls have failed."""


class Breaker:
    """One circuit, shared by the threads of a process. Any exception that a call raises is a failure."""

    def __init__(
        self,
        name: str,
        *,
        window: int = 10,
        minimum: int = 5,
        failure_rate: float = 0.5,
        open_for: float = 10.0,
        trials: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.minimum, self.failure_rate = name, minimum, failure_rate
        self.open_for, self.trials, self.clock = open_for, trials, clock
        self._lock = Lock()
        self._failed: deque[bool] = deque(maxlen=window)  # calls since the current state was entered
        self._tried = 0
        self._entered = 0  # counts state changes: a call begun in an earlier state does not affect this one
        self._enter(CLOSED)

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` and return its result. Raises `CircuitOpen` without calling it while the circuit is open."""
        ticket = self.admit()
        try:
            answer = function()
        except Exception:
            self.report(ticket, failed=True)
            raise
        except BaseException:  # this process is being stopped, which says nothing about the service
            self._withdraw(ticket)
            raise
        self.report(ticket, failed=False)
        return answer

    def snapshot(self) -> dict[str, Any]:
        """For operators: the state, the calls counted in it, and the seconds until an open circuit is probed."""
        with self._lock:
            left = max(0.0, self._opened_at + self.open_for - self.clock()) if self._state == OPEN else 0.0
            return {
                "service": self.name,
                "state": self._state,
                "calls": len(self._failed),
                "failures": sum(self._failed),
                "retry_after": round(left, 1),
            }

    def is_closed(self) -> bool:
        """Whether calls pass, without a trial."""
        with self._lock:
            return self._state == CLOSED

    def admit(self) -> int:
        """Return a ticket for one call. Raises `CircuitOpen` while no call passes."""
        with self._lock:
            if self._state == OPEN and self.clock() >= self._opened_at + self.open_for:
                self._enter(HALF_OPEN)
            if self._state == OPEN or (self._state == HALF_OPEN and self._tried >= self.trials):
                REFUSED.labels(self.name).inc()
                raise CircuitOpen(f"{self.name} keeps failing, and is not called for the moment.")
            self._tried += 1
            return self._entered

    def report(self, ticket: int, *, failed: bool) -> None:
        """Record the outcome of the call that `admit` gave this ticket for; once per ticket."""
        with self._lock:
            if ticket != self._entered:
                return
            self._failed.append(failed)
            if self._state == HALF_OPEN:
                if failed:
                    self._enter(OPEN)
                elif len(self._failed) >= self.trials:
                    self._enter(CLOSED)
            elif len(self._failed) >= self.minimum and sum(self._failed) >= self.failure_rate * len(self._failed):
                self._enter(OPEN)

    def _withdraw(self, ticket: int) -> None:
        with self._lock:
            if ticket == self._entered:
                self._tried -= 1

    def _enter(self, state: str) -> None:
        first = self._entered == 0
        self._state = state
        self._entered += 1
        self._tried = 0
        STATE.labels(self.name).set({CLOSED: 0, HALF_OPEN: 1, OPEN: 2}[state])
        if state == OPEN:
            self._opened_at = self.clock()
            OPENED.labels(self.name).inc()
        else:
            self._failed.clear()
        if not first:
            logger.warning("The circuit to %s is %s", self.name, state)


_breakers: dict[str, Breaker] = {}
_creating = Lock()


def breaker_of(name: str) -> Breaker:
    """This process's circuit for a service."""
    with _creating:
        if name not in _breakers:
            _breakers[name] = Breaker(name, open_for=settings.BREAKER_OPEN_FOR)
        return _breakers[name]


def snapshots() -> list[dict[str, Any]]:
    """A snapshot of every circuit that this process has used."""
    return [_breakers[name].snapshot() for name in sorted(_breakers)]


def forget() -> None:
    """For tests: forget all circuits, like a new process."""
    with _creating:
        _breakers.clear()

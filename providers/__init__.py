"""Requests to a provider over HTTP: many at once, with separate limits for each provider.

No provider has a batch call, so the requests of a batch are sent concurrently:

    provider.each(ask, batch)    the answers in the batch's order, `Unknown` for those that did not come in time

`ask(one)` makes its calls with `provider.client()` and returns an answer of the port. It raises `NoAnswer` where
nothing usable came back, and `TooMany` where the provider asks for a pause. Only the latter is retried here, after the
pause; the timer retries what stays unknown, with the same idempotency key.

The limits of a provider, per process (`Limits`):

bulkhead   a separate thread pool: a provider that hangs uses up only its own threads
rate       requests per second; none at all for as long as a 429 says in `Retry-After`
breaker    the circuit of `shop/calls/breaker.py`, per provider. While it is not closed, a few requests are tried, and
           the others are not sent
budget     a batch waits for `patience` seconds, and no longer than `stall` once nothing more is answered. A call that
           is given up goes on in its thread until its own timeout, and what it brings is told to the circuit alone
"""

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import httpx
from django.conf import settings
from prometheus_client import Counter, Histogram

from shop.calls.breaker import Breaker, CircuitOpen
from shop.observability import sdk

logger = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")

REQUESTS = Histogram("shop_provider_seconds", "Requests to providers.", ["provider", "outcome"])
LEFT_OPEN = Counter("shop_provider_left_open_total", "Requests that a batch did not wait for any longer.", ["provider"])
LEFT_ALONE = "{} is away, and is left alone for the moment"
PAUSES = 5  # times that one request is sent again after a 429


class NoAnswer(Exception):
    """The provider did not answer, or its answer cannot be read: the effect of the request is unknown."""


class TooMany(Exception):
    """The provider did nothing, and asks for a pause of so many seconds."""

    def __init__(self, pause: float) -> None:
        super().__init__(f"asked to wait for {pause:g} s")
        self.pause = pause


class Limits(NamedTuple):
    """The limits of a provider; times in seconds."""

    concurrency: int = 64  # concurrent requests, in one process
    per_second: float = 0.0  # requests; 0 is no limit
    timeout: float = 30.0  # of one request
    patience: float = 10.0  # of a batch
    stall: float = 2.0  # of a batch after its last answer; longer if the provider is usually slower
    probing: float = 0.5  # of a batch while the circuit is not closed

    @classmethod
    def of(cls, options: Mapping[str, str], default: "Limits") -> "Limits":
        """Return the limits in an adapter's options ({"concurrency": "32"}). Raises ValueError for other text."""
        given = {name: type(getattr(default, name))(options[name]) for name in cls._fields if name in options}
        return default._replace(**given)


class Provider:
    """One account at one provider, as this process asks it."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        unknown: Callable[[str], Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`unknown(reason)` is the port's answer for a request without an answer."""
        self.name, self.limits, self.unknown, self.clock = name, limits, unknown, clock
        self.breaker = Breaker(name, window=20, minimum=10, open_for=settings.BREAKER_OPEN_FOR, clock=clock)
        self.usual = 0.0  # seconds that an answer takes, on average
        self._rate = _Rate(limits.per_second, clock, sleep)
        self._local = threading.local()
        self._clients: list[httpx.Client] = []  # of all threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._making = threading.Lock()

    def each(self, ask: Callable[[T], A], batch: Sequence[T]) -> list[A | Any]:
        """Ask about each of a batch, concurrently; return the answers in its order. A provider's error never raises."""
        until = self.clock() + self.limits.patience
        if self.breaker.is_closed():
            return self._all([_Call(self, ask, one, until) for one in batch], until)
        until_tried = self.clock() + self.limits.probing
        tried: list[_Call] = []
        for one in batch[: self.breaker.trials]:
            try:
                tried.append(_Call(self, ask, one, until_tried, self.breaker.admit()))
            except CircuitOpen:
                break
        answers, rest = self._all(tried, until_tried), batch[len(tried) :]
        if rest and self.breaker.is_closed():
            return answers + self._all([_Call(self, ask, one, until) for one in rest], until)
        return answers + [self.unknown(LEFT_ALONE.format(self.name))] * len(rest)

    def client(self) -> httpx.Client:
        """Return the calling thread's client, which reuses its connection. Redirects are not followed."""
        held: tuple[int, httpx.Client] | None = getattr(self._local, "client", None)
        if held is None or held[0] != os.getpid():
            client = httpx.Client(
                verify=_tls(), timeout=httpx.Timeout(self.limits.timeout, connect=min(5.0, self.limits.timeout))
            )
            held = self._local.client = os.getpid(), sdk.traced(client)
            self._clients.append(client)
        return held[1]

    def request(self, method: str, url: str, **kwargs: Any) -> httpx.Response:
        """Make a request. Raises `NoAnswer` if no response comes or it is 5xx, `TooMany` for 429."""
        try:
            response = self.client().request(method, url, **kwargs)
        except httpx.HTTPError as error:
            raise NoAnswer(f"{type(error).__name__} {error}".strip()) from error
        check(response.status_code, response.headers)
        return response

    def json(self, method: str, url: str, **kwargs: Any) -> tuple[int, Any]:
        """Make a request for JSON; return its status and body. Raises as `request` does, and `NoAnswer` if the body is
        not a JSON object or list."""
        response = self.request(method, url, **kwargs)
        try:
            said = response.json()
        except ValueError as error:
            raise NoAnswer(f"answered {response.status_code} with what is no JSON") from error
        if not isinstance(said, dict | list):
            raise NoAnswer(f"answered {response.status_code} with {type(said).__name__}")
        return response.status_code, said

    def _all(self, calls: "list[_Call]", until: float) -> list[Any]:
        pool = self._threads()
        ended: SimpleQueue[Future[Any]] = SimpleQueue()
        for call in calls:
            call.future = pool.submit(call.run)
            call.future.add_done_callback(ended.put)
        stalled = False
        for index in range(len(calls)):
            quiet, left = max(self.limits.stall, 4 * self.usual), until - self.clock()
            try:
                ended.get(timeout=max(0.0, min(quiet, left)))
            except Empty:
                stalled = quiet < left
                missing = len(calls) - index
                LEFT_OPEN.labels(self.name).inc(missing)
                logger.warning("%s has not answered %d of %d requests in time", self.name, missing, len(calls))
                break
        return [call.answer(stalled=stalled) for call in calls]

    def _threads(self) -> ThreadPoolExecutor:
        with self._making:
            if self._pool is None or self._pool[0] != os.getpid():  # a forked child makes its own
                self._pool = os.getpid(), ThreadPoolExecutor(self.limits.concurrency, thread_name_prefix=self.name)
            return self._pool[1]

    def close(self) -> None:
        """Wait for the threads' current requests, end the threads, and close their connections."""
        if self._pool:
            self._pool[1].shutdown(cancel_futures=True)
        for client in self._clients:
            client.close()


class _Call:
    """One request of a batch: run by a thread of the pool, and given up by the batch when its time is over."""

    future: "Future[Any]"

    def __init__(
        self, provider: Provider, ask: Callable[[Any], Any], one: Any, until: float, trial: int | None = None
    ) -> None:
        self.provider, self.ask, self.one, self.until = provider, ask, one, until
        self._trial, self._ticket = trial is not None, trial
        self._lock = threading.Lock()

    def run(self) -> Any:
        """Return the answer, or `Unknown` after any error, so that the others' answers are kept."""
        provider, breaker = self.provider, self.provider.breaker
        for _ in range(PAUSES):
            if not provider._rate.wait(self.until):
                return provider.unknown(f"{provider.name} takes no more requests at the moment")
            try:
                self._ticket = breaker.admit() if self._ticket is None else self._ticket
            except CircuitOpen:
                return provider.unknown(LEFT_ALONE.format(provider.name))
            began, outcome = provider.clock(), "failed"
            try:
                answer = self.ask(self.one)
                outcome = "answered"
                provider.usual += (provider.clock() - began - provider.usual) / 20
                return answer
            except TooMany as error:
                outcome = "too many"
                provider._rate.pause(error.pause)
            except NoAnswer as error:
                logger.info("%s: %s", provider.name, error)
                return provider.unknown(str(error)[:200])
            except Exception:
                logger.exception("An answer of %s cannot be understood", provider.name)
                return provider.unknown("an answer that cannot be understood")
            finally:
                REQUESTS.labels(provider.name, outcome).observe(provider.clock() - began)
                self._report(failed=outcome == "failed")
        return provider.unknown(f"{provider.name} asks again and again for a pause")

    def answer(self, *, stalled: bool) -> Any:
        """Return the answer, or `Unknown`. In a stalled batch, a missing answer counts as a failure for the circuit;
        but a trial that was sent counts only when it ends."""
        breaker = self.provider.breaker
        if self.future.cancel():
            if self._trial:
                self._report(failed=True)
            elif stalled and breaker.is_closed():
                breaker.report(breaker.admit(), failed=True)
            return self.provider.unknown(f"{self.provider.name} was not asked in time")
        if self.future.done():
            return self.future.result()
        if stalled and not self._trial:
            self._report(failed=True)
        return self.provider.unknown(f"{self.provider.name} did not answer in time")

    def _report(self, *, failed: bool) -> None:
        with self._lock:
            ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self.provider.breaker.report(ticket, failed=failed)


class _Rate:
    """A limit of requests per second, evenly spaced after a burst of a tenth of a second's."""

    def __init__(self, per_second: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._clock, self._sleep = clock, sleep
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, until: float) -> bool:
        """Wait for the next slot; return False if that comes after `until`."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now - 0.1 if self._gap else now)
            if turn > until:
                return False
            self._next = turn + self._gap if self._gap else self._next
        if turn > now:
            self._sleep(turn - now)
        return True

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


_trust: list[ssl.SSLContext] = []
_trusting = threading.Lock()


def _tls() -> ssl.SSLContext:
    """Return the trusted certificates. They are loaded once, because that takes longer than most requests."""
    with _trusting:
        if not _trust:
            _trust.append(ssl.create_default_context())
        return _trust[0]


def check(status: int, headers: Mapping[str, str]) -> None:
    """Raise `TooMany` for 429, `NoAnswer` for 5xx."""
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise TooMany(retry_after(headers.get("Retry-After", "")))
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise NoAnswer(f"answered {status}")


def retry_after(value: str) -> float:
    """Return the seconds of a `Retry-After`, which has seconds or a date; one second if it is missing or invalid."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 1.0


def with_query(url: str, **parameters: str) -> str:
    """Return the URL with parameters added to its query."""
    return str(httpx.URL(url).copy_merge_params(parameters))

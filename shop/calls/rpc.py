"""Calls between services: `connect(AccountsService).get_user(7)`.

Who calls knows the contract only. Where its implementation runs is this module's business: in this process, or, when
this process runs one service and the contract is another's, behind that one's URL. Over HTTP a call is signed, takes
`CALL_TIMEOUT` seconds at the most, is tried up to three times (every contract only reads), and goes through a circuit
breaker.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import httpx
import msgspec
import stamina
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string
from opentelemetry import propagate
from prometheus_client import Histogram

from sagas.outages import Unavailable
from shop.calls.resilience import breaker_of
from shop.calls.wire import Declared, Method, errors_of, methods_of, path_of, sign
from shop.contracts.offers import OFFERS
from shop.observability import sdk

T = TypeVar("T")

ATTEMPTS = 3
CONNECTING = 0.2  # of the time for an attempt, what connecting may take
B3 = ("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")
PASSED_ON = ("x-request-id", "traceparent", "tracestate", *B3)
IN_META = {f"HTTP_{name.upper().replace('-', '_')}": name for name in PASSED_ON}  # Django's names for them
CALLS = Histogram("shop_call_seconds", "Calls to other services over HTTP.", ["service", "method", "outcome"])

_substitutes: dict[Any, Any] = {}


class CalledInTransaction(TransactionManagementError):
    """Another service was called inside a transaction: its locks would be held for as long as the other takes."""


def connect(contract: Callable[..., T], *, of: str = "") -> T:
    """The service behind a contract of `shop.contracts`; `of` names it where every service keeps the contract.

    Its methods raise the errors that the contract declares, `Unavailable` when the service is away, and
    `CalledInTransaction` inside a transaction.
    """
    service = of or OFFERS[contract].service
    if contract in _substitutes:
        kept_by = _substitutes[contract]
    elif service in settings.LOCAL_SERVICES:
        kept_by = implementation(contract, service)
    else:
        kept_by = _Remote(contract, service)
    return _OutsideTransactions(kept_by)  # type: ignore[return-value]


def implementation(contract: Any, service: str) -> Any:
    """The object that keeps a contract in this process."""
    offer = OFFERS[contract]
    kept_by = import_string(offer.implementation)
    return kept_by() if offer.service else kept_by(service)


@contextmanager
def substituting(contract: Any, fake: T) -> Iterator[T]:
    """For tests: `connect(contract)` answers with `fake` within the block."""
    previous = dict(_substitutes)
    _substitutes[contract] = fake
    try:
        yield fake
    finally:
        _substitutes.clear()
        _substitutes.update(previous)


class _OutsideTransactions:
    """A service whose methods refuse to run inside a transaction."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)

        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            for connection in connections.all(initialized_only=True):
                # As Django does for durable=True: the transaction around a test case does not count.
                blocks = connection.atomic_blocks
                if connection.in_atomic_block and not (blocks and getattr(blocks[-1], "_from_testcase", False)):
                    raise CalledInTransaction(f"{name}() was called inside a transaction on {connection.alias!r}.")
            return method(*args, **kwargs)

        return call


# --- Over HTTP ------------------------------------------------------------------------------------------------------
class _Failed(Unavailable):
    """The other service did not answer, or not as agreed; trying again may help."""


class _Refused(Unavailable):
    """The other service would not answer this process: another secret, another version, a clock that is off."""


class _Remote:
    """A contract that another process keeps."""

    def __init__(self, contract: Any, service: str) -> None:
        self._contract, self._service = contract, service
        self._url = settings.SERVICE_URLS.get(service, "")
        if not self._url:
            raise ImproperlyConfigured(f"{settings.SHOP_SERVICE} calls {service}: set {service.upper()}_URL.")

    def __getattr__(self, name: str) -> Any:
        method = methods_of(self._contract).get(name)
        if method is None:
            raise AttributeError(f"{self._contract.__name__} has no {name}.")

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, method, method.encode_arguments(*args, **kwargs))

        call.__name__ = name
        return call

    def _call(self, name: str, method: Method, body: bytes) -> Any:
        path = path_of(self._contract, name, self._service)
        began = time.perf_counter()
        outcome = "failed"
        try:
            answer = breaker_of(self._service).call(lambda: self._ask(path, method, body))
            outcome = "refused" if isinstance(answer, Declared) else "answered"
        finally:
            CALLS.labels(self._service, name, outcome).observe(time.perf_counter() - began)
        if isinstance(answer, Declared):
            raise errors_of(self._contract)[answer.error](answer.detail)
        return answer

    def _ask(self, path: str, method: Method, body: bytes) -> Any:
        """One call, tried again when it failed for as long as there is time. Raises `Unavailable`."""
        give_up_at = time.monotonic() + settings.CALL_TIMEOUT
        for attempt in stamina.retry_context(
            on=_Failed, attempts=ATTEMPTS, timeout=settings.CALL_TIMEOUT, wait_initial=0.05, wait_max=0.5,
            wait_jitter=0.1,
        ):  # fmt: skip
            with attempt:
                return self._send(path, method, body, left=give_up_at - time.monotonic())
        raise AssertionError("unreachable")  # the last attempt raises

    def _send(self, path: str, method: Method, body: bytes, *, left: float) -> Any:
        if left <= 0:
            raise Unavailable(f"{self._service} did not answer within {settings.CALL_TIMEOUT} s.")
        headers = {**_to_pass_on(), "Content-Type": "application/json", **sign(path, body)}
        timeout = httpx.Timeout(left * (1 - CONNECTING), connect=left * CONNECTING)
        try:
            response = _client().post(f"{self._url.rstrip('/')}{path}", content=body, headers=headers, timeout=timeout)
            if response.status_code == httpx.codes.OK:
                return method.decode_result(response.content)
            if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                declared = msgspec.json.decode(response.content, type=Declared)
                if declared.error in errors_of(self._contract):
                    return declared
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            raise _Failed(f"{self._service}: {type(error).__name__} {error}") from error
        if response.is_server_error:
            raise _Failed(f"{self._service} answered {response.status_code}.")
        raise _Refused(f"{self._service} answered {response.status_code} to {path}.")


_clients: dict[int, httpx.Client] = {}


def _client() -> httpx.Client:
    """This process's client, which keeps connections open. A forked child has one of its own."""
    try:
        return _clients[os.getpid()]
    except KeyError:
        # Without the environment's proxies: the other service is next door.
        return _clients.setdefault(os.getpid(), sdk.traced(httpx.Client(trust_env=False)))


def disconnect() -> None:
    """Close this process's connections; the next call opens others."""
    if client := _clients.pop(os.getpid(), None):
        client.close()


# --- What a request brings along and takes with it -----------------------------------------------------------------
_brought: ContextVar[Mapping[str, str] | None] = ContextVar("brought", default=None)


class PassOn:
    """Middleware: calls made for a request carry its id and its trace."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        brought = {name: request.META[key] for key, name in IN_META.items() if key in request.META}
        if request_id := getattr(request, "request_id", ""):  # ours, where the client's would not do
            brought["x-request-id"] = request_id
        token = _brought.set(brought)
        try:
            return self.get_response(request)
        finally:
            _brought.reset(token)


def _to_pass_on() -> dict[str, str]:
    """The request's id and trace; the current span's where there is one."""
    headers = dict(_brought.get() or {})
    propagate.inject(headers)
    return headers

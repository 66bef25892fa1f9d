"""The calling side over HTTP.

A call is signed, goes through a circuit breaker, and makes up to three attempts within `CALL_TIMEOUT` seconds.
Retrying is safe because every method of a contract only reads, or is idempotent.
"""

import os
import time
from typing import Any

import httpx
import msgspec
import stamina
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from prometheus_client import Histogram

from sagas.outages import Unavailable
from shop.calls.breaker import breaker_of
from shop.calls.headers import headers_to_pass_on
from shop.calls.wire import Declared, Method, errors_of, methods_of, path_of, sign
from shop.observability import sdk

ATTEMPTS = 3
CONNECTING = 0.2  # share of an attempt's time budget for connecting
CALLS = Histogram("shop_call_seconds", "Calls to other services over HTTP.", ["service", "method", "outcome"])


class _Failed(Unavailable):
    """No response, or an invalid one. A retry may succeed."""


class _Refused(Unavailable):
    """The service rejects this process: unknown key, different version, or clock skew. A retry will not help."""


class Remote:
    """A contract implemented by another process."""

    def __init__(self, contract: Any, service: str) -> None:
        self._contract, self._service = contract, service
        self._url = settings.SERVICE_URLS.get(service, "")
        if not self._url:
            raise ImproperlyConfigured(f"{settings.SHOP_SERVICE} calls {service}: set {service.upper()}_URL.")
        if not settings.INTERNAL_KEY:
            raise ImproperlyConfigured(f"{settings.SHOP_SERVICE} calls {service}: set INTERNAL_KEY.")

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
        """One call, retried on failure while time is left. Raises `Unavailable`."""
        give_up_at = time.monotonic() + settings.CALL_TIMEOUT
        for attempt in stamina.retry_context(
            on=_Failed, attempts=ATTEMPTS, timeout=settings.CALL_TIMEOUT, wait_initial=0.05, wait_max=0.5,
            wait_jitter=0.1,
        ):  # fmt: skip
            with attempt:
                return self._send(path, method, body, left=give_up_at - time.monotonic())
        raise AssertionError("unreachable: the last attempt raises")

    def _send(self, path: str, method: Method, body: bytes, *, left: float) -> Any:
        if left <= 0:
            raise Unavailable(f"{self._service} did not answer within {settings.CALL_TIMEOUT} s.")
        headers = {**headers_to_pass_on(), "Content-Type": "application/json", **sign(path, body)}
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
    """This process's client, which reuses connections. A forked child makes its own."""
    try:
        return _clients[os.getpid()]
    except KeyError:
        # trust_env=False: internal calls never go through a proxy.
        return _clients.setdefault(os.getpid(), sdk.traced(httpx.Client(trust_env=False)))


def disconnect() -> None:
    """Close this process's connections. The next call opens new ones."""
    if client := _clients.pop(os.getpid(), None):
        client.close()

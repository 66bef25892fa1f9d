"""Passes a request's id and trace on to the calls made while handling it."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from opentelemetry import propagate

B3 = ("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")
PASSED_ON = ("x-request-id", "traceparent", "tracestate", *B3)
IN_META = {f"HTTP_{name.upper().replace('-', '_')}": name for name in PASSED_ON}  # Django's names for them

_brought: ContextVar[Mapping[str, str] | None] = ContextVar("brought", default=None)


class PassOn:
    """Middleware: remembers the headers to pass on while a request is handled."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        brought = {name: request.META[key] for key, name in IN_META.items() if key in request.META}
        if request_id := getattr(request, "request_id", ""):  # replaces a client's id that is malformed
            brought["x-request-id"] = request_id
        token = _brought.set(brought)
        try:
            return self.get_response(request)
        finally:
            _brought.reset(token)


def headers_to_pass_on() -> dict[str, str]:
    """The current request's id and trace; the current span's trace, if there is one."""
    headers = dict(_brought.get() or {})
    propagate.inject(headers)
    return headers

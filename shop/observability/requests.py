"""Counts and times the requests of users, by route: middleware, the outermost."""

import time
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from shop.observability.metrics import REQUEST

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
FROM_MACHINES = frozenset(("/livez", "/readyz", "/metrics"))

View = Callable[[HttpRequest], HttpResponseBase]


def measured(get_response: View) -> View:
    """Observe how long each request took, whatever its outcome."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        response = get_response(request)
        if request.path not in FROM_MACHINES:
            method = request.method if request.method in METHODS else "other"
            taken = time.perf_counter() - began
            REQUEST.labels(method, _route(request), f"{response.status_code // 100}xx").observe(taken)
        return response

    return respond


def _route(request: HttpRequest) -> str:
    """Return the pattern that the path matched. Paths would be a series each, and anybody can invent paths."""
    match = request.resolver_match
    return match.route if match else "none"

"""Health and metrics for monitoring: who may request them from a web server, and a port of their own.

Both cost queries, and are not public. So a web server answers /readyz and /metrics to addresses in `WATCHED_FROM` only,
and not through a proxy, which would add `X-Forwarded-For`.

On METRICS_PORT, if set, a separate thread answers for a web server's process, even while all request threads are busy.
"""

import logging
import socket
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse

from shop.operations import health

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], HttpResponse]

PATIENCE = 5  # seconds to receive a whole request: the thread can serve no other meanwhile
VIEWS = {"/livez": health.livez, "/readyz": health.readyz, "/metrics": health.metrics}


def may_watch(request: HttpRequest) -> bool:
    """Whether a request for /readyz or /metrics is answered by a web server."""
    if "HTTP_X_FORWARDED_FOR" in request.META:
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(address in network for network in _networks(tuple(settings.WATCHED_FROM)))


def watched(view: View) -> View:
    """Wrap a web server's view: it answers 404 unless the client `may_watch`."""

    def respond(request: HttpRequest) -> HttpResponse:
        return view(request) if may_watch(request) else HttpResponse(status=HTTPStatus.NOT_FOUND)

    return respond


@cache
def _networks(named: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(one) for one in named]


def serve() -> WSGIServer | None:
    """Serve health and metrics on METRICS_PORT, if set, in a thread; if another program has the port, log it and go on.
    A web server's processes share the port, and the one that accepts a request answers it."""
    if not settings.METRICS_PORT:
        return None
    try:
        server = make_server(settings.METRICS_ADDRESS, settings.METRICS_PORT, answer, _Server, _Handler)
    except OSError as error:
        logger.error("No health and no metrics on port %d: %s", settings.METRICS_PORT, error)
        return None
    Thread(target=server.serve_forever, name="watch", daemon=True).start()
    return server


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The WSGI application on METRICS_PORT."""
    view = VIEWS.get(environ["PATH_INFO"])
    try:
        response = view(WSGIRequest(environ)) if view else HttpResponse(status=HTTPStatus.NOT_FOUND)
    finally:
        connections.close_all()  # this thread's: it needs none between requests
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else response.content]


class _Server(WSGIServer):
    allow_reuse_port = True

    def server_bind(self) -> None:
        """Bind, without asking the name server who we are, which the base class does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: the client hung up or sent nothing. Errors of a view are logged, and answered with 500."""


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, *_: Any) -> None:
        """Log nothing: probes come every few seconds."""

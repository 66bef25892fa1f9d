"""What all stand-ins share: an HTTP server, faults, idempotency keys, notifications.

A stand-in is a subclass of `StandIn` with a table of routes. A handler gets a `Request`, and returns a `Response` or
raises `Problem`, the provider's error. Handlers run one at a time, but latencies overlap.
"""

import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from re import Match, compile
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpx

from lab.providers.books import Books

logger = logging.getLogger(__name__)

# What can go wrong with a request, and whether the provider has handled it by then.
LOSE_REQUEST = "lose the request"  # the connection breaks, and nothing was done
LOSE_ANSWER = "lose the answer"  # done, and the connection breaks
FAIL_BEFORE = "fail before"  # 500, and nothing was done
FAIL_AFTER = "fail after"  # done, and 500
TOO_MANY = "too many"  # 429, and nothing was done
MALFORMED = "malformed"  # done, and the answer is cut off
HANG = "hang"  # nothing comes until the stand-in is released
OTHER_AMOUNT = "other amount"  # done; the answer says ten more
SLOW = "slow"  # done, after `Faults.slowness`
FAULTS = (LOSE_REQUEST, LOSE_ANSWER, FAIL_BEFORE, FAIL_AFTER, TOO_MANY, MALFORMED, HANG)
AMOUNTS = ("amount", "totalAmount", "total", "totalPayAmount")


class Request(NamedTuple):
    """A request, with its path's parameters in `of`. Header names are in lower case."""

    method: str
    path: str
    of: tuple[str, ...]
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self) -> dict[str, Any]:
        """Return the body's JSON object; {} if it is not one."""
        try:
            said = json.loads(self.body)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


class Response(NamedTuple):
    """A response: JSON, or a page if `body` is a string."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Problem(Exception):
    """The provider's error response."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(body)
        self.response = Response(body, status)


class Route(NamedTuple):
    """A route. `operation` is its name in the port, by which faults are planned."""

    method: str
    pattern: str
    operation: str
    handle: Callable[[Request], Response]


class Faults:
    """Which requests fail, and how: the next ones as planned, and a share of all others at random."""

    def __init__(self) -> None:
        self.planned: dict[str, deque[str]] = {}
        self.rates: dict[str, float] = {}  # of each fault, at random
        self.random = random.Random(1)  # nosec B311
        self.pause, self.slowness = 0.0, 3.0  # seconds: that a 429 asks for, and that a slow answer takes
        self.released = threading.Event()
        self._lock = threading.Lock()

    def plan(self, operation: str, *faults: str) -> None:
        """Have the next requests of an operation fail, one after the other."""
        with self._lock:
            self.planned.setdefault(operation, deque()).extend(faults)

    def next(self, operation: str) -> str:
        """Return the fault of the next request of an operation; empty if there is none."""
        with self._lock:
            if planned := self.planned.get(operation):
                return planned.popleft()
            drawn = 1.0 if operation == "page" else self.random.random()
            for fault, rate in self.rates.items():
                if (drawn := drawn - rate) < 0:
                    return fault
        return ""


class StandIn:
    """One provider with one account. Use it as a context manager: it then serves on `url`."""

    name = ""

    def __init__(self, *, port: int = 0, path: Path | None = None, notify: str = "", latency: float = 0.0) -> None:
        self.books, self.faults = Books(path), Faults()
        self.notify = notify  # where notifications go; empty: nowhere
        self.latency = latency  # seconds
        self.requests: deque[tuple[str, str]] = deque(maxlen=10_000)  # operation and fault
        self.notifications: list[tuple[dict[str, str], bytes]] = []  # headers and body of each, sent or not
        self._routes = [(compile(route.pattern + "$"), route) for route in self.routes()]
        self._client = httpx.Client(verify=False, timeout=5)  # noqa: S501 # nosec B501
        self._delivering: deque[threading.Thread] = deque(maxlen=1_000)
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def routes(self) -> list[Route]:
        """Return the routes of the provider's API and pages."""
        raise NotImplementedError

    def check(self, request: Request) -> None:
        """Raise `Problem` unless the request is authenticated."""

    def __enter__(self) -> "StandIn":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name=self.name, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.faults.released.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._delivering:
            thread.join(5)
        self._client.close()
        self.books.close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Response | None:
        """Return the response to a request; None if the connection must break."""
        parts = urlsplit(target)
        route, match = self._route(method, parts.path)
        if route is None or match is None:
            return Response({"code": "NOT_FOUND", "message": parts.path}, 404)
        fault = self.faults.next(route.operation)
        self.requests.append((route.operation, fault))
        if seconds := self.latency + self.faults.slowness * (fault == SLOW):
            time.sleep(seconds)
        if fault == HANG:
            self.faults.released.wait()
        if fault in (LOSE_REQUEST, HANG):
            return None
        if fault == FAIL_BEFORE:
            return Response({"error": {"type": "api_error", "message": "internal error"}}, 500)
        if fault == TOO_MANY:
            pause = (("Retry-After", f"{self.faults.pause:g}"),)
            return Response({"error": {"type": "rate_limit_error", "message": "slow down"}}, 429, pause)
        request = Request(method, parts.path, match.groups(), dict(parse_qsl(parts.query)), headers, body)
        with self._lock, self.books.transaction():
            try:
                if route.operation != "page":
                    self.check(request)
                response = route.handle(request)
            except Problem as problem:
                response = problem.response
        if fault == LOSE_ANSWER:
            return None
        if fault == FAIL_AFTER:
            return Response({"error": {"type": "api_error", "message": "internal error"}}, 500)
        if fault == MALFORMED:
            return response._replace(body='{"id": "cut o')
        return response._replace(body=_ten_more(response.body)) if fault == OTHER_AMOUNT else response

    def once(self, request: Request, key: str, act: Callable[[], Response], *, conflict: Problem) -> Response:
        """Act once per idempotency key: a repeated request gets the same response, a different one raises
        `conflict`."""
        if not key:
            return act()
        asked = f"{request.method} {request.path} {request.body.decode()}"
        if known := self.books.get("key", key):
            if known["asked"] != asked:
                raise conflict
            return Response(known["body"], known["status"])
        try:
            response = act()
        except Problem as problem:
            response = problem.response
        self.books.put("key", key, {"asked": asked, "body": response.body, "status": response.status})
        return response

    def tell(self, body: Any, sign: Callable[[bytes], dict[str, str]]) -> None:
        """Send a notification in the background; it is retried a few times until it is accepted."""
        sent = json.dumps(body).encode()
        self.notifications.append((headers := {"Content-Type": "application/json", **sign(sent)}, sent))
        if self.notify:
            thread = threading.Thread(target=self._deliver, args=(headers, sent), daemon=True)
            self._delivering.append(thread)
            thread.start()

    def _deliver(self, headers: dict[str, str], body: bytes) -> None:
        for attempt in range(5):
            try:
                if self._client.post(self.notify, content=body, headers=headers).is_success:
                    return
            except httpx.HTTPError as error:
                logger.info("%s: %s", self.notify, error)
            if self.faults.released.wait(0.2 * 2**attempt):
                return

    def _route(self, method: str, path: str) -> tuple[Route | None, Match[str] | None]:
        for pattern, route in self._routes:
            if route.method == method and (match := pattern.match(path)):
                return route, match
        return None, None


def _ten_more(body: Any) -> Any:
    if isinstance(body, dict):
        return {
            name: value + 10 if name in AMOUNTS and isinstance(value, int) else _ten_more(value)
            for name, value in body.items()
        }
    return body


# --- Pages ------------------------------------------------------------------------------------------------------------
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui; max-width: 26rem; margin: 4rem auto; padding: 0 1rem }}
button {{ font: inherit; padding: .6rem 1.4rem; margin: .5rem .5rem .5rem 0 }} small {{ color: #666 }}
</style><h1>{title}</h1><p>{text}</p>{forms}<p><small>A stand-in on this machine: no money moves.</small></p>"""


def page(title: str, text: str, buttons: dict[str, str]) -> Response:
    """Return a page with a button for each of `buttons`, {action: label}."""
    forms = "".join(
        f'<form method="post"><button name="action" value="{escape(action)}">{escape(label)}</button></form>'
        for action, label in buttons.items()
    )
    return Response(PAGE.format(title=escape(title), text=escape(text), forms=forms))


def go(url: str, **query: str) -> Response:
    """Redirect the browser, with parameters added to the URL."""
    added = httpx.URL(url).copy_merge_params(query) if query else httpx.URL(url)
    return Response("", 303, (("Location", str(added)),))


# --- HTTP -------------------------------------------------------------------------------------------------------------
class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PUT = do_DELETE = do_GET

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = stand_in.answer(self.command, self.path, headers, body)
            if response is None:
                self.close_connection = True
                return
            html = isinstance(response.body, str)
            out = response.body.encode() if html else json.dumps(response.body).encode()
            kind = "text/html; charset=utf-8" if html and not out.startswith(b"{") else "application/json"
            lines = [f"HTTP/1.1 {response.status} -", f"Content-Type: {kind}", f"Content-Length: {len(out)}"]
            lines += [f"{name}: {value}" for name, value in response.headers]
            self.wfile.write("\r\n".join([*lines, "", ""]).encode() + out)

        def log_message(self, format: str, *args: object) -> None:
            logger.debug(format, *args)

    return Handler

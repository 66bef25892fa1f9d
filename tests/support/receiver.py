"""A program on this machine that is told by webhook."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    headers: dict[str, str]
    body: bytes

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])


class Receiver(ThreadingHTTPServer):
    """A subscriber on this machine. `answer` says what each POST is answered with, after `meanwhile`."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler] | None = None) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], int] = lambda one: 204
        self.headers: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), handler or _Recorder)
        threading.Thread(target=self.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    @property
    def types(self) -> list[str]:
        return [one.type for one in self.received]


class _Recorder(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        one = Received(dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append(one)
        self.send_response(self.server.answer(one))
        for name, value in {"Content-Length": "0", **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """To nobody."""

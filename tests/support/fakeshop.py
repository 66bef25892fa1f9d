"""A shop that does what a test says, behind a real socket: for who uses the API from outside."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSWORD = "right"
Answer = tuple[int, Any]


class FakeShop:
    """Takes orders, sells what there is, and completes an order as soon as it is looked at."""

    def __init__(self) -> None:
        self.url = ""
        self.orders: dict[int, dict[str, Any]] = {}
        self.sent: list[float] = []  # when orders came, on the monotonic clock
        self.looked_at: list[float] = []  # when orders were looked at one by one
        self.stock: dict[int, int] = {}
        self.off_sale: list[int] = []
        self.before_answering: Callable[[int], Any] = lambda number: None  # with the order's number; may wait
        self.refuses_with: Callable[[int], int] = lambda number: 0  # a status, or 0 for an order that is taken
        self.clock_ahead = 0.0  # seconds
        self.token_seconds = 900.0
        self.oversells = False
        self._mutex = threading.Lock()

    def _now(self) -> str:
        return datetime.fromtimestamp(time.time() + self.clock_ahead, UTC).isoformat()

    def answer(self, method: str, path: str, body: Any, token: str) -> Answer:
        match method, path.partition("?")[0].split("/")[3:]:
            case "POST", ["auth", "token"]:
                return self._token(body)
            case "POST", ["products"]:
                self.stock[len(self.stock) + 1] = 0
                return 201, {"id": len(self.stock)}
            case "DELETE", ["products", product]:
                self.off_sale.append(int(product))
                return 204, None
            case "POST", ["inventory", product, "adjustments"]:
                self.stock[int(product)] += body["delta"]
                return 201, {}
            case "GET", ["inventory", product]:
                return 200, {"quantity": self.stock[int(product)]}
            case "POST", ["orders"]:
                good = float(token) > time.time()
                return self._place(body) if good else (401, {"code": "C006"})
            case "GET", ["orders"]:
                return self._page(path)
            case "GET", ["orders", order_id]:
                self.looked_at.append(time.monotonic())
                return 200, self.orders[int(order_id)]
        return 404, {"code": "C002"}

    def _token(self, body: Any) -> Answer:
        if body["password"] != PASSWORD:
            return 401, {"code": "C006"}
        until = time.time() + self.token_seconds
        payload = base64.urlsafe_b64encode(json.dumps({"exp": until}).encode()).decode().rstrip("=")
        return 200, {"access": f"x.{payload}.{until}"}

    def _place(self, body: Any) -> Answer:
        with self._mutex:
            number = len(self.sent)
            self.sent.append(time.monotonic())
            if status := self.refuses_with(number):
                return status, {"code": {429: "C007", 500: "C001"}.get(status, "")}
            wanted = {line["productId"]: line["quantity"] for line in body["items"]}
            sold = self.oversells or all(self.stock[product] >= pieces for product, pieces in wanted.items())
            for product, pieces in wanted.items() if sold else ():
                self.stock[product] -= 0 if self.oversells else pieces
            now = self._now()
            order = {
                "id": number + 1,
                "status": "COMPLETED" if sold else "CANCELLED",
                "cancellationReason": "" if sold else "I002: insufficient stock",
                "items": body["items"],
                "createdAt": now,
                "updatedAt": now,
                "timeline": [{"at": now, "event": event} for event in ("OrderCreated", *["PaymentCompleted"] * sold)],
            }
            self.orders[order["id"]] = order
        self.before_answering(number)
        return 202, order

    def _page(self, path: str) -> Answer:
        limit, below = (re.search(rf"{name}=(\d+)", path) for name in ("limit", "below"))
        ids = sorted((one for one in self.orders if not below or one < int(below[1])), reverse=True)
        page = ids[: int(limit[1]) if limit else 20]
        following = f"{self.url}/api/v1/orders?limit={len(page)}&below={page[-1]}" if len(ids) > len(page) else None
        return 200, {"next": following, "results": [self.orders[one] for one in page]}


@contextmanager
def open_for_business() -> Iterator[FakeShop]:
    """A fake shop on a port of its own."""
    shop = FakeShop()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is written in one

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "").split(".", 2)[-1]
            status, answer = shop.answer(self.command, self.path, json.loads(body) if body else None, token)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 200
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that has gone away is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    shop.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

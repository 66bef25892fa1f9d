"""Requests per second of the API under granian, relative to the thinnest Django view with the same SQL.

    .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.http
    … -m benchmarks.http --rounds 9 --seconds 3 --json

Both servers run all the time, with the same options; load goes to one and then to the other, round by round, so that
other work on the machine affects both. A ratio is the shop's requests per second divided by the thin view's, the median
of the rounds. `CPU` is what the web server itself used for a request, without PostgreSQL and the load: it is the
steadier number. The databases are created for the run and dropped after it.
"""

import argparse
import json
import os
import pickle
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.surroundings import ROOT, Unfit, own_databases, refuse_unfit_surroundings
from benchmarks.thin import PLAYED, Played, Statement

FIRST_ORDER = 100_000_000  # a number that occurs nowhere else in a statement
PRODUCTS = 20
PATIENCE = 30  # seconds for a server to start
WARM_UP = 1.0  # seconds


@dataclass(frozen=True)
class Request:
    """A request to both servers."""

    name: str
    title: str
    raw: bytes
    status: int


@dataclass
class Round:
    """One server under load for a while. Times in milliseconds."""

    per_second: float
    p50: float
    p99: float
    cpu: float


@dataclass
class Result:
    """The rounds of one request on both servers, in order."""

    title: str
    statements: int
    shop: list[Round] = field(default_factory=list)
    thin: list[Round] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [shop.per_second / thin.per_second for shop, thin in zip(self.shop, self.thin, strict=True)]


class Server:
    """granian with one application, as Procfile starts it."""

    def __init__(self, application: str, log: Path, environment: dict[str, str], workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", str(workers), "--blocking-threads", "4", application]
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def cpu(self) -> float:
        """Return the seconds of CPU time used so far."""
        process = psutil.Process(self._process.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def must_answer(self) -> None:
        """Wait for the server to start. Raises `Unfit`."""
        give_up_at = time.monotonic() + PATIENCE
        while time.monotonic() < give_up_at and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise Unfit(f"A web server did not start:\n{self._log.read_text()[-4000:]}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # its children, too
            self._process.wait()


class Connection:
    """A client's connection, with as little work as possible, as it runs on the same machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: Request) -> None:
        """Send a request and read the response. Raises `Unfit` for another status."""
        self._socket.sendall(request.raw)
        data = self._socket.recv(65536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._socket.recv(65536)
        head = data[:end].lower()
        begin = head.index(b"content-length:") + 15
        length = int(head[begin:].split(b"\r\n", 1)[0])
        while len(data) < end + 4 + length:
            data += self._socket.recv(65536)
        if not data.startswith(b"HTTP/1.1 %d " % request.status):
            raise Unfit(f"{request.title} was answered with:\n{data.decode(errors='replace')}")

    def close(self) -> None:
        self._socket.close()


def play(server: Server, request: Request, *, seconds: float, clients: int) -> Round:
    """Put a server under load: each client waits for its response before it sends the next request."""
    times: list[float] = []
    failures: list[BaseException] = []
    stop_at = time.perf_counter() + seconds

    def ask() -> None:
        connection = Connection(server.port)
        try:
            while (began := time.perf_counter()) < stop_at:
                connection.ask(request)
                times.append(time.perf_counter() - began)
        except (Unfit, OSError, ValueError) as failure:
            failures.append(failure)
        finally:
            connection.close()

    cpu, began = server.cpu(), time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    took, used = time.perf_counter() - began, server.cpu() - cpu
    cuts = statistics.quantiles(times, n=100)
    return Round(len(times) / took, 1000 * cuts[49], 1000 * cuts[98], 1000 * used / len(times))


# --- What is asked, and what the shop does then -----------------------------------------------------------------------
def prepare() -> tuple[list[Request], dict[str, Played]]:
    """Create products, a customer and an order; return the requests, and the statements that each executes."""
    import django

    django.setup()
    from django.db import connections
    from django.test import Client

    from accounts.models import User
    from accounts.services import issue
    from catalog.models import Product
    from orders.models import Order

    Product.objects.bulk_create(
        Product(name=f"Product {number}", price=33000, category="BOOK") for number in range(PRODUCTS)
    )
    customer = User.objects.create(email="bench@example.com", name="Bench", password="!")
    with connections["orders"].cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('orders_order', 'id'), %s)", [FIRST_ORDER])
    token = f"Bearer {issue(customer).access}"
    body = json.dumps({"productId": 7, "quantity": 2, "address": "Seoul", "paymentToken": "tok_ok"})
    client = Client(headers={"Authorization": token})

    def post() -> Any:
        return client.post("/api/v1/orders", body, content_type="application/json")

    order_id = post().json()["id"]
    played = {
        "place": watched(post),
        "products": watched(lambda: client.get("/api/v1/products")),
        "order": watched(lambda: client.get(f"/api/v1/orders/{order_id}")),
    }
    placed = played["place"]
    placed.order_id = placed.body["id"]
    placed.event_id = str(
        Order._meta.apps.get_model("orders", "Outbox").objects.get(correlation_id=placed.order_id).event_id
    )
    connections.close_all()
    requests = [
        Request("place", "POST /orders", raw("POST", "orders", token, body), placed.status),
        Request("products", "GET /products", raw("GET", "products", token), 200),
        Request("order", "GET /orders/{id}", raw("GET", f"orders/{order_id}", token), 200),
    ]
    return requests, played


def preparation_of(connection: Any, execute: str) -> str:
    """Return the PREPARE that an EXECUTE of this session refers to; empty for other statements."""
    name = execute.removeprefix("EXECUTE ").partition("(")[0]
    with connection.connection.cursor() as cursor:  # the driver's, which is not watched
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE name = %s", [name])
        (statement,) = cursor.fetchone() or ("",)
    return str(statement)


def watched(call: Any) -> Played:
    """Record the statements that a request executes."""
    from django.db import connections

    statements: list[Statement] = []

    def watch(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        connection = context["connection"]
        statements.append(Statement(connection.alias, sql, parameters, preparation_of(connection, sql)))
        return execute(sql, parameters, many, context)

    call()  # a warm-up, so that one-time work is not recorded
    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(watch))
        answer = call()
    if answer.status_code >= 400:
        raise Unfit(f"The shop answered {answer.content.decode()}")
    return Played(statements, answer.json(), answer.status_code)


def raw(method: str, path: str, token: str, body: str = "") -> bytes:
    head = [f"{method} /api/v1/{path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: {token}", "Accept: */*"]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", body]).encode()


@contextmanager
def servers(played: dict[str, Played], workers: int) -> Iterator[dict[str, Server]]:
    """Run both servers."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        plays = Path(folder, "played")
        plays.write_bytes(pickle.dumps(played))
        running = {}
        for name, application in (("shop", "shop.wsgi:application"), ("thin", "benchmarks.thin:application")):
            environment = os.environ | ({PLAYED: str(plays)} if name == "thin" else {})
            running[name] = Server(application, Path(folder, name), environment, workers)
            stack.callback(running[name].stop)
        for server in running.values():
            server.must_answer()
        yield running


def measure(options: argparse.Namespace, console: Console) -> list[Result]:
    requests, played = prepare()
    results = []
    with servers(played, options.workers) as running:
        for request in requests:
            if options.only and options.only not in request.name:
                continue
            result = Result(request.title, len(played[request.name].statements))
            results.append(result)
            for server in running.values():
                play(server, request, seconds=WARM_UP, clients=options.clients)
            for number in range(options.rounds):
                order = ("shop", "thin") if number % 2 else ("thin", "shop")
                for name in order:
                    done = play(running[name], request, seconds=options.seconds, clients=options.clients)
                    getattr(result, name).append(done)
            console.print(f"{request.title}: {statistics.median(result.ratios):.2f}", highlight=False)
    return results


def table(results: Sequence[Result]) -> Table:
    shown = Table("", "SQL", "", "requests/s", "p50 ms", "p99 ms", "CPU ms", "ratio (lowest to highest)")
    for one in results:
        for name, rounds in (("shop", one.shop), ("thin view", one.thin)):
            figures = [
                f"{statistics.median(getattr(each, what) for each in rounds):.{digits}f}"
                for what, digits in (("per_second", 0), ("p50", 1), ("p99", 1), ("cpu", 2))
            ]
            ratio = f"{statistics.median(one.ratios):.2f} ({min(one.ratios):.2f} to {max(one.ratios):.2f})"
            first = name == "shop"
            shown.add_row(
                one.title if first else "", str(one.statements) if first else "", name, *figures, ratio if first else ""
            )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="on each of the two servers (default: 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round (default: 2)")
    parser.add_argument("--clients", type=int, default=4, help="that ask at the same time (default: 4)")
    parser.add_argument("--workers", type=int, default=2, help="of granian (default: 2, as in Procfile)")
    parser.add_argument("--only", default="", help="place, products or order")
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON")
    options = parser.parse_args()
    console = Console(stderr=True)
    os.environ |= {"ALLOWED_HOSTS": "127.0.0.1,testserver", "JWT_PRIVATE_KEY": "", "JWT_PUBLIC_KEY": ""}
    os.environ |= {"ACCESS_TOKEN_MINUTES": "600", "ORDERS_PER_MINUTE": "1000000000"}  # counted, but never throttled
    try:
        refuse_unfit_surroundings()
        with own_databases():
            results = measure(options, console)
    except Unfit as unfit:
        console.print(str(unfit), style="red", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps([asdict(one) | {"ratio": statistics.median(one.ratios)} for one in results], indent=2))
    else:
        Console().print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

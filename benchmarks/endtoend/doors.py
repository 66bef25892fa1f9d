"""The systems of `benchmarks.systems` with web and mail servers: everything that serves a customer runs."""

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from honcho.environ import parse_procfile

from benchmarks.endtoend.clients import Answer
from benchmarks.surroundings import ROOT, Generator, Helper, Processes, Unfit
from benchmarks.systems import Floor, Orders, PlainCelery, Shop, System, ThreadedCelery, timed

ADDRESS = "서울특별시 중구 세종대로 110"
WORKERS, THREADS = 2, 4  # of each system's web server, as in Procfile
PATIENCE = 60.0  # seconds for a web server to start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http(path: str, body: object, token: str = "") -> str:
    """Return a request as it is sent over the wire."""
    content = json.dumps(body)
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    head += [f"Content-Length: {len(content)}", *([f"Authorization: Bearer {token}"] if token else [])]
    return "\r\n".join([*head, "", content])


def granian(application: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
    return [*command, "--port", str(port), "--workers", str(WORKERS), "--blocking-threads", str(THREADS), application]


class Door(System):
    """A system with its web server and customers."""

    def __init__(self, cleanup: ExitStack) -> None:
        self.port, self.mail_port = free_port(), free_port()
        super().__init__(cleanup)
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        (folder / "requests").write_text(json.dumps(self.requests()))
        clients = [sys.executable, "-m", "benchmarks.endtoend.clients", str(self.port), str(folder / "requests")]
        self.customers = Helper(*clients, environment={})
        cleanup.callback(self.customers.close)

    def requests(self) -> list[str]:
        """Return the requests that the customers send, one after the other, in a loop."""
        raise NotImplementedError

    def named_pids(self) -> dict[str, list[int]]:
        named = self.processes.named if self.processes else {}
        customers = [os.getpid(), self.generator.pid, self.customers.pid, *named.pop("mail server", [])]
        return {**named, "load": customers}

    @contextmanager
    def running(self) -> Iterator[None]:
        with super().running():
            give_up_at = time.monotonic() + PATIENCE
            for port in (self.port, self.mail_port):
                while not answers(port):
                    assert self.processes
                    self.processes.must_run()
                    if time.monotonic() > give_up_at:
                        raise Unfit(f"{self.title} does not answer:\n{self.processes.log()}")
                    time.sleep(0.1)
            yield

    def with_door(self, commands: dict[str, list[str]], environment: dict[str, str]) -> Processes:
        mail = [sys.executable, "-m", "benchmarks.endtoend.mail", str(self.mail_port)]
        return Processes({"mail server": mail, **commands}, environment)

    def ask(self, line: str) -> list[Answer]:
        return [Answer(*answer) for answer in self.customers.ask(line)]

    def placed_between(self, orders: Orders) -> int:
        database, sql = self.placed
        return len(self.query(database, sql, orders.first, orders.last))


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class FloorDoor(Door, Floor):
    title = "the floor"
    marks = {"paid": (("payments", timed("effect")),), "through": (("orders", timed("effect")),)}

    def requests(self) -> list[str]:
        return [http("/orders", {"product_id": 7, "quantity": 1, "address": ADDRESS})]

    def commands(self) -> Processes:
        worker = [sys.executable, "-m", "benchmarks.floor"]
        web = granian("benchmarks.endtoend.floor_web:application", self.port)
        return self.with_door({"web": web, "relay and worker": [*worker, "relay"], "worker": worker}, self._environment)


class ShopDoor(Door, Shop):
    """All of Procfile but Flower, as it is deployed: DEBUG off, e-mails sent, requests measured and sampled."""

    title = "shop"
    marks = {
        "paid": Shop.marks["paid"],
        "through": (
            *Shop.marks["completed"],
            (
                "notifications",
                timed("notifications_notification", "max(sent_at)", where="type = 'SHIPPED' AND channel = 'EMAIL'")
                + " GROUP BY order_id HAVING max(sent_at) IS NOT NULL",
            ),
        ),
    }

    def prepare(self) -> Generator:
        # The web server must accept the tokens, whatever keys are in the environment.
        os.environ |= {"JWT_PRIVATE_KEY": "", "JWT_PUBLIC_KEY": "", "ACCESS_TOKEN_MINUTES": "600"}
        return super().prepare()

    def requests(self) -> list[str]:
        return [
            http(
                "/api/v1/orders",
                {"productId": product, "quantity": 1, "address": ADDRESS, "paymentToken": "tok_ok"},
                token,
            )
            for token, product in self.generator.ask("customers")
        ]

    def commands(self) -> Processes:
        metrics = self._cleanup.enter_context(tempfile.TemporaryDirectory())
        environment = self.environment | {
            "PORT": str(self.port),
            "ALLOWED_HOSTS": "127.0.0.1",
            "EMAIL_URL": f"smtp://127.0.0.1:{self.mail_port}",
            "ORDERS_PER_MINUTE": "1000000000",  # counted, but never throttled
            "MESSAGES_PER_HOUR": "0",  # fifty customers order as many times as a whole town does
            "PROMETHEUS_MULTIPROC_DIR": metrics,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        commands = {}
        for name, command in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
            if name != "flower":
                alone = command if "exec " in command else f"exec {command}"
                commands[name] = ["sh", "-c", alone]
        return self.with_door(commands, environment)


class PlainDoor(Door, PlainCelery):
    title = "plain Celery, prefork 2"
    marks = {
        "paid": (("celery", timed("plain_payment", "created_at")),),
        "through": (
            ("celery", timed("plain_completion", "created_at")),
            ("celery", timed("plain_inbox", "handled_at", where="step = 'notify shipped'")),
        ),
    }

    def requests(self) -> list[str]:
        order = {"product_id": 7, "quantity": 1, "address": ADDRESS, "email": "customer@example.com"}
        return [http("/orders", order)]

    def commands(self) -> Processes:
        worker = [sys.executable, "-m", "celery", "-A", "benchmarks.plain.tasks", "worker", "-l", "WARNING"]
        commands = {
            "web": granian("benchmarks.plain.web:application", self.port),
            "worker": [*worker, "-n", f"{self.name}@%h", *self.pool],
        }
        return self.with_door(commands, self._environment | {"PLAIN_MAIL_PORT": str(self.mail_port)})


class ThreadedDoor(PlainDoor, ThreadedCelery):
    title = "plain Celery, threads 8"


DOORS: dict[str, type[Door]] = {door.name: door for door in (FloorDoor, ShopDoor, PlainDoor, ThreadedDoor)}

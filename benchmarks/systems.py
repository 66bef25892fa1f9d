"""The systems that are compared. Each does the same four steps, durably: reserve, charge, deliver, complete.

A system runs in its own processes. Another process, its generator, places orders; what happened to them is read from
the database, by the database's clock.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks import floor
from benchmarks.surroundings import (
    ROOT,
    SERVICES,
    Generator,
    Processes,
    Unfit,
    own_database,
    shop_databases,
    shop_processes,
)

KEY = "correlation_id"  # of an order's messages in the shop's databases
BROKER = "quorum queues, publisher confirms, acknowledged after commit"


@dataclass(frozen=True)
class Orders:
    """Orders placed together: their ids from first to last, and the database's time after their commit, in seconds."""

    first: int
    last: int
    committed_at: float

    def __len__(self) -> int:
        return self.last - self.first + 1

    def portions(self, size: int) -> Iterator["Orders"]:
        for first in range(self.first, self.last + 1, size):
            yield Orders(first, min(first + size - 1, self.last), self.committed_at)


class System:
    """A system with its databases; `running()` starts it."""

    name = ""
    title = ""
    durability = ""
    queues: tuple[str, ...] = ()
    audited = False
    # Each mark in an order's life: a database, and SQL for (order id, time) of orders between two ids. The last to be
    # reached ends the order; `placed` begins it.
    placed: tuple[str, str]
    marks: Mapping[str, tuple[tuple[str, str], ...]]
    counts: tuple[tuple[str, str], ...] = ()  # a database, and SQL that counts the rows which there must be for each

    def __init__(self, cleanup: ExitStack) -> None:
        self._cleanup = cleanup
        self._databases: dict[str, Any] = {}
        self.urls: dict[str, str] = {}
        self.processes: Processes | None = None
        self.beside: dict[str, list[int]] = {}  # process ids of what else belongs to it, by how results call that
        self.finished: list[tuple[int, int]] = []
        self.generator = self.prepare()
        cleanup.callback(self.generator.close)
        self.generator.ask("place 1")  # returns when everything is ready

    def prepare(self) -> Generator:
        """Create the databases; start the generator."""
        raise NotImplementedError

    def commands(self) -> Processes:
        raise NotImplementedError

    def verify(self) -> None:
        """Raise `Unfit` if the results of the running processes are wrong."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the system during the block; then check its results."""
        with self.commands() as self.processes:
            yield
            for first, last in self.finished:
                for database, count in self.counts:
                    ((found,),) = self.query(database, count, first, last)
                    if found != last - first + 1:
                        raise Unfit(f"{self.title}: {found} rows for {last - first + 1} orders: {count}")
            self.finished.clear()
            self.verify()

    def place(self, count: int) -> Orders:
        return Orders(*self.generator.ask(f"place {count}"))

    def done(self, orders: Orders) -> int:
        """Return how many orders have reached every mark."""
        if self.processes:
            self.processes.must_run()
        return min(
            self.query(database, f"SELECT count(*) FROM ({sql}) AS reached", orders.first, orders.last)[0][0]
            for queries in self.marks.values()
            for database, sql in queries
        )

    def times(self, orders: Orders) -> dict[str, list[tuple[float, float]]]:
        """Return, for each mark, (placed, reached) of all orders, by the database's clock, in seconds."""
        began = dict(self.query(*self.placed, orders.first, orders.last))
        found = {}
        for mark in self.marks:
            reached = self.reached(mark, orders)
            if reached.keys() != began.keys():
                raise Unfit(f"{self.title}: {len(reached)} of {len(began)} orders are {mark}.")
            found[mark] = [(began[order_id], at) for order_id, at in reached.items()]
        self.finished.append((orders.first, orders.last))
        return found

    def reached(self, mark: str, orders: Orders) -> dict[int, float]:
        """Return when these orders reached a mark, without those that have not."""
        reached: dict[int, float] = {}
        for query in self.marks[mark]:
            for order_id, at in self.query(*query, orders.first, orders.last):
                reached[order_id] = max(at, reached.get(order_id, 0))
        return reached

    def named_pids(self) -> dict[str, list[int]]:
        """Return process ids by the names under which the results count their CPU time."""
        return {
            "workers": self.processes.pids if self.processes else [],
            "load": [os.getpid(), self.generator.pid],
            **self.beside,
        }

    def query(self, database: str, sql: str, first: int, last: int) -> list[tuple]:
        if database not in self._databases:
            self._databases[database] = connection = psycopg2.connect(self.urls[database])
            connection.autocommit = True
            self._cleanup.callback(connection.close)
        with self._databases[database].cursor() as cursor:
            cursor.execute(sql, {"first": first, "last": last})
            return cursor.fetchall()


def timed(table: str, at: str = "at", order: str = "order_id", where: str = "true") -> str:
    """Return SQL for (order id, time) of a range of orders."""
    seconds = f"extract(epoch FROM {at})::float"
    return f"SELECT {order}, {seconds} FROM {table} WHERE {where} AND {order} BETWEEN %(first)s AND %(last)s"


def counted(table: str, where: str = "true", order: str = "order_id") -> str:
    return f"SELECT count(*) FROM {table} WHERE {where} AND {order} BETWEEN %(first)s AND %(last)s"


class Floor(System):
    name, title = "floor", "the floor"
    durability = f"fsync, synchronous_commit, {BROKER}; an inbox row with the stored emission per event"
    queues = tuple(floor.QUEUE.format(service) for service in floor.NEXT)
    placed = ("orders", timed("placed", order="id"))
    marks = {"completed": (("orders", timed("effect")),)}
    counts = tuple((service, counted(table)) for service in floor.NEXT for table in ("effect", "inbox"))

    def prepare(self) -> Generator:
        for service in floor.NEXT:
            self.urls[service] = self._cleanup.enter_context(own_database(f"floor_{service}", floor.SCHEMA))
        self._environment = {f"FLOOR_{service.upper()}": url for service, url in self.urls.items()}
        return Generator(sys.executable, "-m", "benchmarks.floor", "place", environment=self._environment)

    def commands(self) -> Processes:
        worker = [sys.executable, "-m", "benchmarks.floor"]
        return Processes({"relay and worker": [*worker, "relay"], "worker": worker}, self._environment)


PAID = ("PAYMENT_COMPLETED", "DELIVERY_STARTED", "SHIPPED")


class Shop(System):
    """The project as it is: every listener, and the relay."""

    name, title = "shop", "shop, the full saga"
    durability = f"fsync, synchronous_commit, {BROKER}; inbox, outbox, locks, ledger; audited"
    settings = "shop.settings"
    audited = True
    placed = ("orders", timed("orders_order", "created_at", "id"))
    marks = {
        # An order that handles its delivery first never becomes PAYMENT_COMPLETED, but is paid all the same.
        "paid": (
            (
                "orders",
                timed("orders_timelineentry", "min(at)", where=f"status IN {PAID}") + " GROUP BY order_id",
            ),
        ),
        # Handed over, and all steps that hear that event have run. The arrival is up to the carrier.
        "completed": (
            ("orders", timed("orders_timelineentry", where="status = 'SHIPPED'")),
            ("inventory", timed("inventory_inbox", "handled_at", KEY, "step = 'inventory.ship_stock'")),
            ("notifications", timed("notifications_inbox", "handled_at", KEY, "event_type = 'DeliveryHandedOver'")),
        ),
    }
    counts = (
        ("inventory", counted("inventory_reservation", "status = 'SHIPPED'")),
        ("payments", counted("payments_payment", "status = 'COMPLETED'")),
        ("delivery", counted("delivery_delivery")),
    )

    def prepare(self) -> Generator:
        self.environment = self._cleanup.enter_context(shop_databases(f"{self.name}_"))
        self.environment |= {"DJANGO_SETTINGS_MODULE": self.settings, "HANDOVER_AFTER": "0", "DELIVERED_AFTER": "3600"}
        server = os.environ["DATABASE_URL"].rstrip("/")
        self.urls = {service: f"{server}/{self.environment['DATABASE_PREFIX']}{service}" for service in SERVICES}
        return Generator(sys.executable, "-m", "benchmarks.load", environment=self.environment)

    def commands(self) -> Processes:
        return shop_processes(self.environment)

    def verify(self) -> None:
        if wrong := self.generator.ask("check"):
            raise Unfit(f"{self.title}: {wrong}")


class ShopOfFour(Shop):
    name, title = "shop4", "shop, four steps"
    settings = "benchmarks.four"
    audited = False  # by the audit's rules an order whose parcel nobody has delivered cannot be completed
    marks = {"completed": (("orders", timed("orders_timelineentry", where="status = 'COMPLETED'")),)}
    counts = (
        ("inventory", counted("inventory_reservation", "status = 'RESERVED'")),
        *Shop.counts[1:],
        ("orders", counted("orders_inbox", "step = 'orders.complete_order'", KEY)),
    )

    def commands(self) -> Processes:
        return shop_processes(self.environment, carrier=False)


class PlainCelery(System):
    """Django and Celery as in their documentation; prefork."""

    name, title = "celery-prefork", "plain Celery, prefork 2"
    durability = f"fsync, synchronous_commit, {BROKER}; an inbox row per event"
    pool = ("-P", "prefork", "-c", "2")
    placed = ("celery", timed("plain_order", "created_at", "id"))
    marks = {"completed": (("celery", timed("plain_completion", "created_at")),)}
    counts = (
        *(("celery", counted(f"plain_{table}")) for table in ("reservation", "payment", "delivery", "completion")),
        ("celery", counted("plain_inbox", "step = 'complete'")),
    )

    def prepare(self) -> Generator:
        self.queues = (f"plain.{self.name}",)
        self.urls["celery"] = url = self._cleanup.enter_context(own_database(self.name.replace("-", "_")))
        self._environment = {
            "PLAIN_DATABASE_URL": url,
            "PLAIN_QUEUE": self.queues[0],
            "DJANGO_SETTINGS_MODULE": "benchmarks.plain.settings",
        }
        return Generator(sys.executable, "-m", "benchmarks.plain.place", environment=self._environment)

    def commands(self) -> Processes:
        worker = [sys.executable, "-m", "celery", "-A", "benchmarks.plain.tasks", "worker", "-l", "WARNING"]
        return Processes({"worker": [*worker, "-n", f"{self.name}@%h", *self.pool]}, self._environment)


class ThreadedCelery(PlainCelery):
    name, title = "celery-threads", "plain Celery, threads 8"
    pool = ("-P", "threads", "-c", "8")


class Dbos(System):
    """The four steps as a DBOS workflow, queued in PostgreSQL."""

    name, title = "dbos", "DBOS"
    durability = "fsync, synchronous_commit; workflow and steps recorded in PostgreSQL, no broker"
    python = Path(ROOT, "var", "dbos", "bin", "python")
    workers, concurrency = 2, 8
    tables = ("reservation", "payment", "delivery", "completion")
    schema = "CREATE TABLE placed (id bigserial PRIMARY KEY, at timestamptz NOT NULL);" + "".join(
        f"CREATE TABLE {table} (order_id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());"
        for table in tables
    )
    placed = ("dbos", timed("placed", order="id"))
    marks = {"completed": (("dbos", timed("completion")),)}
    counts = tuple(("dbos", counted(table)) for table in tables)

    def prepare(self) -> Generator:
        if not self.python.exists():
            raise Unfit(f"{self.python} is not there: `make bench` makes it. Or name --systems without dbos.")
        self.urls["dbos"] = url = self._cleanup.enter_context(own_database("dbos", self.schema))
        self._environment = {"DBOS_URL": url, "DBOS_CONCURRENCY": str(self.concurrency)}
        return Generator(str(self.python), "-m", "benchmarks.durable", "place", environment=self._environment)

    def commands(self) -> Processes:
        worker = [str(self.python), "-m", "benchmarks.durable", "work"]
        commands = {f"worker {number}": [*worker, str(number)] for number in range(self.workers)}
        return Processes(commands, self._environment)


SYSTEMS: dict[str, type[System]] = {
    system.name: system for system in (Floor, ShopOfFour, Shop, PlainCelery, ThreadedCelery, Dbos)
}

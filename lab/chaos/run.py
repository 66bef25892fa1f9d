"""A whole run on a system of its own: load and faults, rest, verdict."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from secrets import token_urlsafe
from typing import Any, Generic, Protocol, TypeVar

import httpx
from amqp.exceptions import AMQPError
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.utils.module_loading import import_string
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lab.chaos.books import Compared, compare
from lab.chaos.client import Client
from lab.chaos.customers import Customers
from lab.chaos.faults import FAULTS, Fired, World, fire
from lab.chaos.plan import KEPT_BACK, Plan
from lab.chaos.returning import Returning
from lab.chaos.verdict import Verdict, judge, recovery
from lab.measures import unfinished
from lab.orders import CUSTOMERS, PRICE
from lab.providers.run import stand_ins, wanted
from lab.rig.servers import until
from lab.rig.system import STARTED_WITHIN, System
from sagas.conf import choreography

THREADS = 8  # of the client
CROWDED = 150  # messages in one queue that mean the shop is behind
SAID_EVERY = 15.0  # seconds, where no progress bar can be shown


class Stage(Protocol):
    """Where a shop runs. `urls` are its web servers. With `keep`, its files stay for inspection."""

    urls: list[str]
    keep: bool
    redis: Any

    def say(self, text: str) -> None: ...


S = TypeVar("S", bound=Stage)


class Load(Generic[S]):
    """Products, customers and their orders, on a running system."""

    def __init__(self, system: S, plan: Plan, *, console: Console) -> None:
        self.system, self.plan, self.console = system, plan, console
        password = self._seed()
        self.tokens = [self._sign_in(customer, password) for customer in range(CUSTOMERS)]

    def _seed(self) -> str:
        """Create products, stock and customers; return the customers' password."""
        password = token_urlsafe(12)
        products = [
            {"id": number, "name": f"Product {number}", "price": PRICE * number, "category": "ETC"}
            for number in self.plan.stock
        ]
        users = [{"email": _address(number), "name": f"Customer {number}"} for number in range(CUSTOMERS)]
        import_string("catalog.services.seed_products")(products)
        elsewhere = {product: pieces // 2 for product, pieces in self.plan.stock.items() if pieces > 1}
        seed_stock = import_string("inventory.services.seed_stock")
        seed_stock({product: pieces - elsewhere.get(product, 0) for product, pieces in self.plan.stock.items()})
        seed_stock(elsewhere, "EAST")
        import_string("accounts.services.seed_users")(users, password=password)
        return password

    def _sign_in(self, customer: int, password: str) -> str:
        """Return a customer's token. The first call waits until the shop answers."""
        body = {"email": _address(customer), "password": password}
        url, answers = self.system.urls[customer % len(self.system.urls)], []

        def answered() -> bool:
            try:
                answer = httpx.post(f"{url}/api/v1/auth/token", json=body, trust_env=False, timeout=30)
            except httpx.HTTPError:
                return False
            answers.append(answer.json().get("access"))
            return bool(answers[-1])

        until(answered, "an answer from the shop", seconds=STARTED_WITHIN)
        return answers[-1]

    def _await_rest(self, patience: float) -> None:
        """Wait until two checks in a row find nothing unfinished; if that takes too long, the verdict says so."""
        give_up_at = time.monotonic() + patience
        quiet = 0
        while quiet < 2 and time.monotonic() < give_up_at:
            quiet = quiet + 1 if asked(unfinished) == {} else 0
            time.sleep(0.5)
        lease_ends = time.monotonic() + 5  # of a lock whose holder was killed
        while quiet and time.monotonic() < lease_ends and any(self.system.redis.client.scan_iter("*lock*")):
            time.sleep(0.1)

    @contextmanager
    def _watching(self, client: Client, fired: list[Fired]) -> Iterator[None]:
        """Pace the load and show the progress within the block."""
        ended = threading.Event()
        pace = threading.Thread(target=self._pace, args=(client, ended), daemon=True)
        with Watch(self.console, client, fired, len(self.plan.orders)):
            pace.start()
            try:
                yield
            finally:
                client.stop()
                ended.set()
                pace.join()

    def _pace(self, client: Client, ended: threading.Event) -> None:
        """Hold the load back until `ended`; by default, do not."""


class Run(Load[System]):
    """The load, the faults and the verdict."""

    def play(self, *, least: int, patience: float, rate: float | None, one_by_one: bool) -> Verdict:
        """Place the orders, inject faults meanwhile, wait for rest at most `patience` seconds, and judge.

        There are at least `least` faults, and more until only the orders are left that were kept back. With
        `one_by_one`, each fault waits for recovery from the previous one, and no order is placed after the last.
        """
        orders = self.plan.orders
        lasting = sum(one.gap + FAULTS[one.kind].takes for one in self.plan.faults[:least]) or 1.0
        kept_back = max(1, int(len(orders) * KEPT_BACK)) if least and not one_by_one else 0
        client = Client(self.system.urls, self.tokens, orders, rate or (len(orders) - kept_back) / lasting)
        client.hold_back(kept_back)
        system = self.system
        world = World(system.postgres, system.rabbitmq, system.redis, system.processes, client.one_now)
        fired: list[Fired] = []
        at_providers = Customers(client, system.urls, self.tokens) if wanted() else nullcontext()
        returning = Returning(client, system.urls, self.tokens)
        with self._watching(client, fired), at_providers, returning:
            client.start(THREADS)
            for number, planned in enumerate(self.plan.faults, 1):
                if number > least and client.placed >= len(orders) - kept_back:
                    break
                time.sleep(planned.gap)
                one = fire(number, planned, world)
                fired.append(one)
                proof = f"[red]{escape(one.failure)}[/]" if one.failure else escape(one.proof)
                self.system.say(f"{one.began - client.began:6.1f} s  [bold]{one.kind}[/]  {proof}")
                if one_by_one:
                    self._await_recovery(one, patience)
            calm_since = time.time()
            client.enough() if one_by_one else client.release()
            until(lambda: not client.busy, "the end of the load", seconds=3600)
            self._await_rest(patience)
            returning.no_more()
            self._await_rest(patience)
        seconds = time.time() - calm_since
        connections.close_all()  # connections from before the faults are broken
        restarts = system.processes.restarts
        verdict = judge(
            client, fired, seed=self.plan.seed, restarts=restarts, seconds_to_rest=seconds, one_by_one=one_by_one,
            books=self._books(),
        )  # fmt: skip
        self.system.keep = self.system.keep or not verdict.good
        return verdict

    def _books(self) -> list[Compared]:
        """Compare the providers' books with our ledger, once their processes are gone."""
        for process in self.system.processes.give_up("provider"):
            self.system.say(f"{process.name} has ended; its books are compared with our ledger")
        directory = settings.VAR_DIR / "stand-ins"
        with stand_ins(directory) as serving:  # nothing fails any more
            return compare(serving, directory)

    def _await_recovery(self, fault: Fired, patience: float) -> None:
        """Wait for recovery from a fault; if that takes too long, the verdict says so."""
        with suppress(TimeoutError):
            until(lambda: asked(lambda: recovery(fault)) is not None, "recovery", seconds=patience, pause=0.5)

    def _pace(self, client: Client, ended: threading.Event) -> None:
        """Let the load wait while the shop is behind: this test does not measure how fast the machine is."""
        while not ended.wait(0.3):
            try:
                client.crowded = max(map(self.system.rabbitmq.waiting, choreography().services)) > CROWDED
            except (AMQPError, OSError):
                client.crowded = False  # the broker is down, and orders are accepted all the same


class Watch:
    """Shows the run's progress: bars on a terminal, otherwise a line now and then."""

    def __init__(self, console: Console, client: Client, fired: list[Fired], total: int) -> None:
        self._console, self._client, self._fired, self._total = console, client, fired, total
        columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._progress.start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._progress.stop()

    def _look(self) -> None:
        total = self._total
        placed = self._progress.add_task("orders placed", total=total)
        closed = self._progress.add_task("orders ended, and closed", total=total)
        faults = self._progress.add_task("faults", total=None)
        said = time.monotonic()
        while not self._ended.wait(1.0):
            waiting = asked(unfinished)
            count = self._client.placed
            self._progress.update(placed, completed=count)
            self._progress.update(faults, completed=len(self._fired))
            if waiting is not None:
                self._progress.update(closed, completed=max(0, count - waiting.get("orders", 0)))
            if not self._console.is_terminal and time.monotonic() - said > SAID_EVERY:
                said = time.monotonic()
                open_now = (
                    "?" if waiting is None else ", ".join(f"{n} {what}" for what, n in waiting.items()) or "nothing"
                )
                self._console.print(f"          {count} of {total} orders placed; open: {open_now}", soft_wrap=True)
        connections.close_all()


def asked(question: Callable[[], Any]) -> Any:
    """Return the databases' answer; None while they are down."""
    try:
        return question()
    except (OperationalError, InterfaceError):
        connections.close_all()
        return None


def _address(customer: int) -> str:
    return f"customer{customer}@example.com"

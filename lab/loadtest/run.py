"""A load test from the first order to the last one's end: products, warm-up, load, rest, timelines."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from lab.loadtest.follow import Follower
from lab.loadtest.http import NoAnswer, Server
from lab.loadtest.measure import Client, Clock, Order, answer_times, paid_times, summary
from lab.loadtest.people import CannotLoad, People
from lab.loadtest.profiles import WARM_UP, Limits, Profile, Step
from lab.orders import HOT_PRODUCT, PlannedOrder

WARM_UPS = 20  # orders
SHOWN_EVERY = 1.0  # seconds
REMEMBERED_EVERY = 5.0
THROTTLED = "429"

Show = Callable[["Run"], None]


@dataclass
class Played:
    """One step of a profile, as it went. Times are seconds since the load began."""

    step: Step
    began: float
    ended: float
    first: int  # of `Run.orders`
    last: int  # exclusive


@dataclass
class Run:
    """A load, and everything that is known about it so far."""

    profile: Profile
    servers: Sequence[Server]
    people: People
    show: Show
    patience: float  # seconds without any order ending after which waiting stops
    load_before: float  # the machine's load average before anything was started for the test
    phase: str = "starting"
    orders: list[Order] = field(default_factory=list)
    evidence: tuple[int, str] | None = None  # an order's id, and its creation time according to the shop
    answers: Counter[str] = field(default_factory=Counter)  # how often each status and code was returned
    still_open: int | None = None  # orders, when all are sent
    played: list[Played] = field(default_factory=list)
    cancellations: list[str] = field(default_factory=list)  # the response to each
    unanswered_but_placed: int = 0
    stock_left: int | None = None  # of a flash sale's product
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)  # MiB, by role
    look_at_memory: Callable[[], dict[str, float]] | None = None
    interrupted: bool = False
    trouble: str = ""  # why it is unknown how the orders ended

    def __post_init__(self) -> None:
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._died_of: BaseException | None = None
        self._reading: asyncio.Task[None] | None = None
        self.clock, self.client = Clock(), Client()

    # --- From beginning to end ----------------------------------------------------------------------------------------
    async def play(self) -> None:
        """Raises CannotLoad."""
        self.loop = asyncio.get_running_loop()
        self._phase("signing in")
        await self.people.sign_in()
        staff = self.people.staff
        self._phase("putting products up for sale")
        self.products: dict[int, int] = {}  # by planned product
        try:
            await staff.put_up_for_sale(self.profile.stock, self.products)
            self._phase("warming up")
            await self._warm_up()
            self.follower = Follower(staff, self.clock, after=await staff.newest_order())
            self._begin()
            beside = (self.people.stay(), self._show(), self._remember(), self.follower.sample())
            helpers = [self.loop.create_task(one) for one in beside]
            try:
                await self._load()
                self._phase("waiting for the orders' ends")
                await self._rest()
            except CannotLoad as error:
                self.trouble = str(error)
            finally:
                await _ended(helpers)
            self._phase("reading timelines")
            self._reading = self.loop.create_task(self.follower.read_timelines(self.orders))
            await asyncio.wait([self._reading])
            if not self._reading.cancelled():
                self._reading.result()  # raises what it died of
            if self.profile.name == "flash-sale":
                with suppress(CannotLoad):
                    self.stock_left = await staff.stock(self.products[HOT_PRODUCT])
        finally:
            with suppress(CannotLoad):
                await staff.take_off_sale(self.products)

    def stop(self) -> None:
        """Place no more orders, and wait for no more of them to end."""
        self.interrupted = True
        self._stopping.set()
        if self._reading:
            self._reading.cancel()

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return self.loop.time() - self._began

    def _phase(self, what: str) -> None:
        self.phase = what
        self.show(self)

    async def _warm_up(self) -> None:
        refused = set()
        for number in range(WARM_UPS):
            customer = self.people.customers[number % len(self.people.customers)]
            server = self.servers[number % len(self.servers)]
            try:
                answer = await server.ask("POST", "/orders", self._body(WARM_UP), token=customer.bearer)
            except NoAnswer as error:
                raise CannotLoad(f"{server.url} took an order and did not answer: {error}") from None
            if answer.status >= 400:
                refused.add(answer.said)
        if refused:
            raise CannotLoad(f"The shop refuses orders: {', '.join(sorted(refused))}.{throttled_because(refused)}")
        if not isfinite(self.profile.steps[0].rate):  # all come at once: connections are ready for them
            for server in self.servers:
                await server.open(self.profile.count // len(self.servers))

    def _begin(self) -> None:
        self._began = self.loop.time()
        self.clock, self.client = Clock(), Client()
        self.follower.clock = self.clock

    # --- The load -----------------------------------------------------------------------------------------------------
    async def _load(self) -> None:
        for step in self.profile.steps:
            self._phase(f"{step.rate:g} orders/s" if isfinite(step.rate) else "all at once")
            played = Played(step, self.now, self.now, len(self.orders), len(self.orders))
            self.played.append(played)
            await self._send(step)
            full = played.began + step.seconds if not self._stopping.is_set() else 0.0
            played.ended, played.last = max(self.now, full), len(self.orders)
            if self._stopping.is_set() or not self._all_held():
                break
        self._phase("waiting for answers")
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._died_of:
            raise self._died_of

    def _all_held(self) -> bool:
        """Whether the shop has kept up so far. Falling behind may show in orders of earlier steps first."""
        limits, now = self.profile.limits, self.now
        return not limits or not any(not_held(self.orders[one.first : one.last], limits, now) for one in self.played)

    async def _send(self, step: Step) -> None:
        """Send each order when it is due, whatever happened to earlier ones."""
        began = self.now
        for number in range(step.count):
            due = began + number / step.rate
            if (wait := due - self.now) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait)
            elif number % 10 == 9:
                await asyncio.sleep(0)  # lets responses be read meanwhile
            if self._stopping.is_set():
                return
            planned = next(self.profile.orders)
            order = Order(len(self.orders), planned.kind, due)
            self.orders.append(order)
            self._start(self._place(order, planned))

    def _start(self, what: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._died_of = error

    async def _place(self, order: Order, planned: PlannedOrder) -> None:
        customer = self.people.customers[order.number % len(self.people.customers)]
        server = self.servers[order.number % len(self.servers)]
        order.sent = self.now
        try:
            answer = await server.ask("POST", "/orders", self._body(planned), token=customer.bearer)
        except NoAnswer as error:
            order.answered, order.said = self.now, str(error)
            self.answers[order.said] += 1
            return
        order.answered, order.said = self.now, answer.said
        self.answers[order.said] += 1
        if answer.status < 300:
            order.order_id = answer.body["id"]
            self.evidence = order.order_id, answer.body["createdAt"]
            self.clock.learn(answer.body["createdAt"], order.sent, order.answered)
            self.follower.placed(order)
            if planned.cancel_after is not None:
                self._start(self._cancel(order, server, customer.bearer, planned.cancel_after))

    async def _cancel(self, order: Order, server: Server, token: str, after: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), after)
        try:
            answer = await server.ask("POST", f"/orders/{order.order_id}/cancel", token=token)
        except NoAnswer as error:
            self.cancellations.append(str(error))
        else:
            self.cancellations.append(answer.said)

    def _body(self, planned: PlannedOrder) -> dict[str, Any]:
        items = [{**line, "productId": self.products[line["productId"]]} for line in planned.body["items"]]
        return {**planned.body, "items": items}

    # --- Afterwards ---------------------------------------------------------------------------------------------------
    async def _rest(self) -> None:
        """Wait until every order has ended; after an interrupt, check only once."""
        fewest, moved_at = len(self.orders) + 1, self.now
        while True:
            began = self.now
            found = await self.follower.look(self.orders, set(self.products.values()))
            self.still_open, self.unanswered_but_placed = found
            if self.still_open < fewest:
                fewest, moved_at = self.still_open, self.now
            if not self.still_open or self._stopping.is_set() or self.now - moved_at > self.patience:
                return
            with suppress(TimeoutError):  # checking must be a small part of the shop's work
                await asyncio.wait_for(self._stopping.wait(), max(0.5, 3 * (self.now - began)))

    async def _show(self) -> None:
        while True:
            await asyncio.sleep(SHOWN_EVERY)
            self.client.look()
            self.show(self)

    async def _remember(self) -> None:
        """Record the shop's memory."""
        while self.look_at_memory:
            self.memory.append((self.now, self.look_at_memory()))
            await asyncio.sleep(REMEMBERED_EVERY)


def not_held(orders: Sequence[Order], limits: Limits, now: float | None = None) -> str:
    """Return why a step was too much for the shop; empty if it was not.

    With `now`, the load is still running, and orders that wait for a response or a payment count with their waiting
    time so far.
    """
    failed = sum(one.answered is not None and not one.accepted for one in orders)
    if failed:
        return f"{failed} of {len(orders)} not accepted"
    waiting = [now - one.due for one in orders if one.answered is None] if now is not None else []
    if summary([*answer_times(orders), *waiting]).get("p95", 0) > limits.answered:
        return f"answered p95 above {limits.answered:g} s"
    unpaid = [now - one.due for one in orders if one.followed and one.paid is None] if now is not None else []
    if summary([*paid_times(orders), *unpaid]).get("p95", 0) > limits.paid:
        return f"paid p95 above {limits.paid:g} s"
    return ""


def throttled_because(said: Sequence[str] | set[str]) -> str:
    """Return what to do about throttling, if there was any."""
    if not any(one.startswith(THROTTLED) for one in said):
        return ""
    return (
        " The shop throttles orders: it takes ORDERS_PER_MINUTE (600 unless set) of each user, and three users order "
        "here. Start it with ORDERS_PER_MINUTE=0 for a load test. A gateway in front may have a limit of its own."
    )


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel these tasks; raise the exception of one that failed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result

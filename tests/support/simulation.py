"""A world of trouble: the saga's steps under a bus that duplicates, reorders, delays, loses and crashes, and under
workers that have the same message at once.

A `Schedule` is data: orders, and a row of decisions about what happens next and what goes wrong with it. Everything
below the bus is real: the kernel, the steps, PostgreSQL. A crash is raised at one of the kernel's crash points and
rolls the transaction back, as the end of the process would. Then the trouble is over; what was lost stays lost, and
the timers alone must bring every order to its end, with nothing for the strict audit to find.

A `World` plays several schedules, each with a product and messages of its own. What is shared is the peace after them:
bringing ten to rest, and the audit, cost little more than for one.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple
from unittest.mock import patch

from django.conf import settings
from django.db.models import Q
from django.test import override_settings
from django.utils import timezone
from msgspec import to_builtins

from audit import Violation, audit
from inventory.services import seed_stock
from orders.cancellation import request_cancellation
from orders.models import Order, Return
from orders.placing import place_order
from orders.returns.models import FINAL as ENDED
from payments import gateways
from payments.models import PaymentAttempt
from sagas.conf import choreography
from sagas.registry import STEPS, TIMERS, local_services
from sagas.relay import publish_deferred, publish_outbox
from sagas.saga import service_of
from sagas.testing import Bus, Crash, calling, publishing_to
from sagas.testing.bus import Message
from shop.api.problems import Problem
from shop.contracts.events import Line
from shop.contracts.payments import AT_ONCE
from shop.return_saga import RETURN
from shop.saga import ORDER
from tests.support import outsiders, returning
from tests.support.boundaries import all_points
from tests.support.ordering import ADDRESS
from tests.support.sagas import SAGA_TIMERS

PRODUCTS = range(101, 261)  # each schedule sells one of them
PIECES = 6  # of it, half of them at each of these locations
LOCATIONS = ("WEST", "EAST")
RUN_BY = {  # whose boundaries are passed by a timer alone: a decision to die at one is about that timer
    "look_after": "orders.look_after",
    "overdue": "orders.cancel_overdue",
    "settle": "payments.settle_payments",
    "advance": "delivery.advance_deliveries",
    "asking": "delivery.advance_deliveries",
    "return_parcels": "delivery.advance_deliveries",
    "return_look": "orders.look_after_returns",
}
CHOICES, MERGING = 60, 30
LOSING = (outsiders.REQUEST_LOST, outsiders.ANSWER_LOST)
RETURNING = (17, 18, 19)  # choices that are somebody's act about a return
REFUNDING = (13, 28, 58)  # choices that are a refund of a part
SETTLING = (14, 15)  # those with which staff have captured again what could not be captured, or write it off
LOST, TWICE, OVERTAKEN, MERGED = "lost", "twice", "overtaken at ", "merged"
MEANWHILE = "meanwhile at "


def is_record(step: str) -> bool:
    return choreography().roles[step].kind == "record"


IN_ORDER = sorted(
    dict.fromkeys(step for saga in (ORDER, RETURN) for heard in saga.heard_by.values() for step in heard),
    key=lambda step: is_record(step),
)
ROUNDS = 4  # looks after all orders, at most, until they have ended and are closed


class Wish(NamedTuple):
    """What a customer orders, and the decision before which it is cancelled; None for never."""

    quantity: int
    payment_token: str
    address: str
    cancelled_at: int | None


class Decision(NamedTuple):
    """`choice` picks what happens next from all that could, 0 the oldest message. From MERGING on, a message goes
    together with all that wait for the same step.

    `trouble` is what goes wrong: a message is LOST, or comes TWICE; a boundary's name is where a process will die that
    passes it, now or later; OVERTAKEN and a boundary's name, outside of transactions, is where a worker is when another
    one with the same message begins, and is through with it; MEANWHILE and a boundary's name is where a process will be
    when others go on for a while; one of the LOSSES is what will be lost on the way to a gateway or back.
    """

    choice: int
    trouble: str | None


class Schedule(NamedTuple):
    """Orders of one product; so many things happen in order and in peace, then what is decided. With `returned`, the
    orders come to their ends in peace, and a piece of each is to come back."""

    wishes: Sequence[Wish]
    calm: int
    decisions: Sequence[Decision]
    capture: str = AT_ONCE  # PAYMENT_CAPTURE, as long as it is played
    returned: bool = False


class Post(Bus):
    """A bus that puts aside what is not about one of `orders`. `meet` is told of each order before."""

    def __init__(self, meet: Callable[[int], Any]) -> None:
        super().__init__(SAGA_TIMERS)
        self.orders: set[int] = set()
        self.aside: list[Message] = []
        self.meet = meet

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        for raw in to_builtins(payload):
            self.meet(raw["order_id"])
        for messages, wanted in ((self.messages, True), (self.aside, False)):
            if events := [raw for raw in to_builtins(payload) if (raw["order_id"] in self.orders) == wanted]:
                messages.append((step, events))


class World:
    """Plays schedules over a bus. `dialogue` tells what happened, `fired` counts what went wrong, by what it was."""

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self.bus = Post(self._name)
        self.schedules = dict(zip(PRODUCTS, schedules, strict=False))
        self.dialogue: list[str] = []
        self.fired: Counter[str] = Counter()
        self._names: dict[int, str] = {}  # of orders
        self._due: set[str] = set()  # services whose relay, and timers that, may find something to do
        self._now = ""  # what is being done
        self._choice = 0
        self._cancelled: dict[int, int] = {}  # which orders will be cancelled, and when
        self._mined: set[str] = set()  # boundaries at which a process will die, or be overtaken; and what will be lost
        self._overtaken: tuple[str, list[Message]] | None = None  # at which boundary a worker will be, and with what

    def play(self) -> None:
        """All schedules, then peace. Raises AssertionError when an order does not end."""
        for location in LOCATIONS:
            seed_stock(dict.fromkeys(self.schedules, PIECES // len(LOCATIONS)), location)
        lossy = {name: outsiders.LossyGateway(name, self._is_lost) for name in settings.PAYMENT_GATEWAYS}
        with publishing_to(self.bus), patch.dict(gateways._made, lossy):
            for product, schedule in self.schedules.items():
                with override_settings(PAYMENT_CAPTURE=schedule.capture):
                    self._play(product, schedule)
            self._log("—— the trouble is over ——")
            self._come_to_rest()
        asked = PaymentAttempt.objects.filter(payment__order_id__in=self._names).values_list("operation", "outcome")
        self.fired.update(f"{operation}: {outcome}" for operation, outcome in asked)

    def verdict(self) -> list[str]:
        """What the strict audit finds."""
        found = [one for one in audit(strict=True) if isinstance(one, Violation)]
        subjects = {f"order {pk}": name for pk, name in self._names.items()}
        return [f"{one.invariant}: {subjects.get(one.subject, one.subject)}: {one.detail}" for one in found]

    # —— A schedule ————————————————————————————————————————————————————————————————————————————————————————————————————
    def _play(self, product: int, schedule: Schedule) -> None:
        orders = {self._place(product, wish): wish for wish in schedule.wishes}
        self._cancelled = {pk: wish.cancelled_at for pk, wish in orders.items() if wish.cancelled_at is not None}
        self.bus.orders = set(orders)
        for _ in range(schedule.calm):
            self._act(Decision(0, None))
        while schedule.returned and (self.bus.messages or self._due):
            self._act(Decision(0, None))
        if schedule.returned:
            self._return("return_request")
        for number, decision in enumerate(schedule.decisions):
            if decision.trouble in all_points() or (decision.trouble or "").startswith((MEANWHILE, *LOSING)):
                self._mined.add(decision.trouble or "")
            self._choice = decision.choice
            with self._mortal():
                if due := [order_id for order_id, at in self._cancelled.items() if at <= number]:
                    self._cancel(due[0])
                    del self._cancelled[due[0]]  # who is not answered asks again
                else:
                    self._act(decision)
        self._mined.clear()
        for order_id in self._cancelled:
            self._cancel(order_id)
        while relays := self._due - TIMERS.keys():  # the next schedule's are to find their own events
            self._relay(min(relays))
        self._due.clear()  # nor are this one's timers to take up its decisions
        self.bus.aside += self.bus.messages
        self.bus.messages.clear()

    def _act(self, decision: Decision) -> None:
        """Do one of all that could be done now."""
        messages, others = len(self.bus.messages), sorted(self._due)
        where = (decision.trouble or "").removeprefix(MEANWHILE).partition(".")[0]
        if where in returning.ACTS or decision.choice in RETURNING:
            self._return(where if where in returning.ACTS else returning.ACTS[decision.choice % 3])
        elif timer := RUN_BY.get(where):
            if timer == "orders.cancel_overdue":
                self._deadline_passes()
            self._tick(timer)
        elif decision.choice % 5 == 1 and outsiders.act_on_page(self.bus.orders, decision.choice // 5, self._tell):
            self._due |= {"payments", "payments.settle_payments"}
        elif decision.choice in REFUNDING:
            self._due.add("orders")
            outsiders.refund_part(self.bus.orders, decision.choice, self._tell)
        elif decision.choice in SETTLING and outsiders.settle_unpaid(
            self.bus.orders, again=decision.choice == SETTLING[0], log=self._tell
        ):
            self._due |= {"payments", "payments.settle_payments"}
        elif decision.choice % 15 == 8:
            self._due.add("orders")
            outsiders.change(self.bus.orders, decision.choice, self._tell)
        elif messages or others:
            picked = decision.choice % (messages + len(others))
            if picked < messages:
                self.bus.merging = decision.choice >= MERGING
                self._deliver(picked, decision.trouble)
            else:
                self._do(others[picked - messages])

    @contextmanager
    def _mortal(self) -> Iterator[None]:
        """Within the block works a process that may die."""
        try:
            with calling(self._pass):
                yield
        except Crash as crash:
            self.fired[str(crash)] += 1
            self._log(f"✗ killed at {crash}: {self._now}")

    def _pass(self, boundary: str) -> None:
        if boundary in self._mined:
            self._mined.remove(boundary)
            raise Crash(boundary)
        if self._overtaken and boundary == self._overtaken[0]:
            (_, batch), self._overtaken = self._overtaken, None
            self.fired[OVERTAKEN + boundary] += 1
            self._log(f"✗ at {boundary} another worker is faster with the same message")
            self.bus.messages += batch
            self.bus.deliver(-1)
        if MEANWHILE + boundary in self._mined:
            self._mined.remove(MEANWHILE + boundary)
            self.fired[MEANWHILE + boundary] += 1
            self._log(f"✗ at {boundary} others go on: {self._now}")
            self._others_go_on()

    def _others_go_on(self) -> None:
        """Customers who will cancel do it now; then what is chosen happens, and perhaps some more, in order."""
        now = self._now
        for order_id in list(self._cancelled):
            with self._mortal():
                self._cancel(order_id)
                del self._cancelled[order_id]
        for choice in [self._choice, *[0] * (self._choice % 3 * 7)]:
            with self._mortal():
                self._act(Decision(choice, None))
        self._now = now

    def _is_lost(self, loss: str) -> bool:
        if lost := loss in self._mined:
            self._mined.remove(loss)
            self.fired[loss] += 1
            self._log(f"✗ {loss}: {self._now}")
        return lost

    def _tell(self, order_id: int, text: str) -> None:
        self._now = f"{self._name(order_id)}: {text}"
        self._log(self._now)

    def _name(self, order_id: int) -> str:
        """What an order is called. Of an exchange nobody has heard before; it belongs to the order that was paid."""
        if order_id not in self._names:
            paid = Order.objects.values_list("exchange_for__order", flat=True).get(pk=order_id)
            self._names[order_id] = f"exchange {order_id} for {self._names[paid]}"
            self.bus.orders |= {order_id} if paid in self.bus.orders else set()
        return self._names[order_id]

    def _settle_unpaid(self) -> bool:
        """Staff write off what could not be captured; whether there was any."""
        settled = outsiders.settle_unpaid(self._names, again=False, log=self._tell)
        self._due |= {"payments"} if settled else set()
        return settled

    def _return(self, what: str) -> int:
        acts = returning.act(what, self.bus.orders, self._tell)
        self._due |= {"orders"} if acts else set()
        return acts

    # —— Peace —————————————————————————————————————————————————————————————————————————————————————————————————————————
    def _come_to_rest(self) -> None:
        """The timers alone must bring every order to its end, and close it. What is alike is done together."""
        self._due |= {*local_services(), *SAGA_TIMERS}
        self.bus.messages += self.bus.aside
        self.bus.orders, self.bus.merging = set(self._names), False
        for _ in range(ROUNDS):
            self._leave_pages()
            while (
                self.bus.messages
                or self._due
                or self._leave_pages()
                or self._settle_unpaid()
                or self._return(returning.DECIDE)
            ):
                step = min((step for step, _ in self.bus.messages), key=IN_ORDER.index, default="")
                if step and (not is_record(step) or not self._due):
                    self._gather(step)
                    self._deliver()
                else:
                    self._do(min(self._due, key=lambda name: (name not in TIMERS, name)))
            still_open = Order.objects.filter(look_at__isnull=False).values_list("pk", flat=True)
            returns = Return.objects.filter(Q(look_at__isnull=False) | ~Q(status__in=ENDED))
            if not (names := [*map(self._name, still_open), *map(str, returns)]):
                return
            self._tick("orders.look_after")
            self._tick("orders.look_after_returns")
        raise AssertionError(f"{', '.join(names)} never ended")

    def _leave_pages(self) -> bool:
        self._due.add("payments.settle_payments")
        return outsiders.leave_pages(self._names, self._tell)

    def _gather(self, step: str) -> None:
        """Make one message, the first, of all for a step: a message carries a batch."""
        events = [raw for to, payload in self.bus.messages if to == step for raw in payload]
        self.bus.messages = [(step, events), *(message for message in self.bus.messages if message[0] != step)]

    # —— What happens ——————————————————————————————————————————————————————————————————————————————————————————————————
    def _place(self, product: int, wish: Wish) -> int:
        line = Line(product, wish.quantity)
        address = wish.address or ADDRESS
        order = place_order(user_id=1, lines=[line], payment_token=wish.payment_token, address=address)
        self._names[order.pk] = f"order {len(self._names) + 1}"
        self._due.add("orders")
        wanted = f"{wish.quantity} of {PIECES} pieces, {wish.payment_token}"
        self._log(f"{self._names[order.pk]} is placed: {', '.join(filter(None, [wanted, wish.address]))}")
        return order.pk

    def _cancel(self, order_id: int) -> None:
        self._now = f"its customer cancels {self._names[order_id]}"
        self._due.add("orders")
        try:
            request_cancellation(order_id)
            self._log(self._now)
        except Problem as refusal:
            self._log(f"{self._now}, in vain ({refusal.code})")

    def _deadline_passes(self) -> None:
        """For the orders of this schedule."""
        long_ago = timezone.now() - timedelta(seconds=settings.ORDER_DEADLINE + 1)
        Order.objects.filter(pk__in=self.bus.orders).update(created_at=long_ago)

    def _do(self, name: str) -> None:
        """Run a timer, or a service's relay."""
        (self._tick if name in TIMERS else self._relay)(name)

    def _deliver(self, position: int = 0, trouble: str | None = None) -> None:
        batch = self.bus.batch_at(position)
        step = batch[0][0]
        heard = ", ".join(f"{raw['type']} of {self._names[raw['order_id']]}" for _, payload in batch for raw in payload)
        self._now = f"{step} hears {heard}"
        if trouble in (LOST, TWICE):
            self.fired[trouble] += 1
        elif len(batch) > 1:
            self.fired[MERGED] += 1
        if trouble == LOST:
            self.bus.messages.pop(position)
            self._log(f"✗ lost: {self._now}")
            return
        self._log(f"✗ once more, later: {self._now}" if trouble == TWICE else self._now)
        self._due |= _follow_ups(step)
        if trouble and trouble.startswith(OVERTAKEN):
            self._overtaken = trouble.removeprefix(OVERTAKEN), batch
        try:
            self.bus.deliver(position, keep=trouble == TWICE)
        finally:
            self._overtaken = None

    def _relay(self, service: str) -> None:
        self._now = f"the relay of {service}"
        if relayed := publish_outbox(service):
            self._log(f"{self._now} publishes {relayed}")
        if told := publish_deferred(service):
            self._log(f"{self._now} publishes {told} deferred")
        self._due.discard(service)

    def _tick(self, timer: str) -> None:
        self._now = f"the timer {timer}"
        if done := TIMERS[timer]():
            self._due.add(service_of(timer))
            self._log(f"{self._now} does {done}")
        else:
            self._due.discard(timer)

    def _log(self, line: str) -> None:
        self.dialogue.append(line)


def _follow_ups(step: str) -> set[str]:
    """What may have something to do when a step has run, now or again: its service's relay, and its timers."""
    service = service_of(step)
    timers = {timer for timer in SAGA_TIMERS if service_of(timer) == service}
    return timers | ({service} if timers or STEPS[step].emits else set())

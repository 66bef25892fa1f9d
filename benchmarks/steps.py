"""The cost of each step of orders and returns: CPU time of Python and PostgreSQL, statements per message; no broker.

    .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.steps
    … -m benchmarks.steps --limits 100 --profile      where Python spends it, by function

All steps run in this one process, over an in-memory queue, one message after another. So the cost of Celery, kombu and
RabbitMQ is not included.

A return needs people and time. What they do is not measured: of the orders that have arrived a part is returned, and
half of that is withdrawn before its parcel comes. None is exchanged: but for one step, an exchange is an order.
"""

import argparse
import cProfile
import os
import pstats
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.surroundings import Unfit, own_databases


class Memory:
    """A transport that stores messages until they are fetched: step, payload as a worker reads it, headers, and the
    number of events."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, Sequence[Any], dict[str, str], int]] = deque()

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        from sagas.serializer import read, write
        from shop.observability.tracing import headers_for

        ((arrived,), _, _) = read(write(((payload,), {}, {})).decode())
        self.waiting.append((step, arrived, headers_for(payload) or {}, len(payload)))

    def backlog(self) -> int:
        return len(self.waiting)


@dataclass
class Cost:
    """The cost of one step, or of a service's relay, in seconds."""

    python: float = 0
    postgresql: float = 0
    wall: float = 0
    calls: int = 0
    statements: int = 0
    events: int = 0


class Meter:
    """Runs sagas, and adds up the cost of each part."""

    def __init__(self, profile: cProfile.Profile | None = None) -> None:
        self._profile = profile
        self.costs: dict[str, Cost] = defaultdict(Cost)
        self._transport = Memory()
        self._statements = 0

    def run(self, load: Any, count: int) -> None:
        """Run `count` orders to their end."""
        load.place(count)
        self.drain()

    def drain(self) -> None:
        """Run everything that is under way as far as it goes by itself."""
        from sagas.conf import choreography
        from sagas.registry import TIMERS
        from sagas.relay import publish_deferred, publish_outbox
        from sagas.testing import publishing_to

        with publishing_to(self._transport), self._counting():
            busy = True
            while busy:
                busy = False
                for service in choreography().services:
                    busy |= bool(self._timed(f"{service}: relay", publish_outbox, service))
                while self._transport.waiting:
                    step, payload, headers, events = self._transport.waiting.popleft()
                    self._timed(step, self.handle, step, payload, headers)
                    self.costs[step].events += events
                for service in choreography().services:
                    busy |= bool(self._timed(f"{service}: deferred", publish_deferred, service))
                busy |= bool(self._timed("delivery: carriers asked", TIMERS["delivery.advance_deliveries"]))
                busy |= bool(self._timed("payments: gateways asked", TIMERS["payments.settle_payments"]))
                busy |= bool(self._transport.waiting)

    def handle(self, step: str, payload: Sequence[Any], headers: dict[str, str]) -> None:
        """Handle a message as a worker does."""
        from sagas.execution import execute
        from sagas.registry import STEPS

        execute(STEPS[step], payload)

    def _timed(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        postgresql = backend_seconds()  # first, as reading it takes Python some time, too
        python, wall = time.process_time(), time.perf_counter()
        statements = self._statements
        with self._profile or nullcontext():
            answer = call(*arguments)
        if answer == 0:  # a relay that found nothing
            return answer
        cost = self.costs[name]
        cost.wall += time.perf_counter() - wall
        cost.python += time.process_time() - python
        cost.postgresql += backend_seconds() - postgresql
        cost.calls += 1
        cost.statements += self._statements - statements
        return answer

    @contextmanager
    def _counting(self) -> Iterator[None]:
        from django.db import connections

        def count(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
            self._statements += 1
            return execute(sql, parameters, many, context)

        with ExitStack() as stack:
            for alias in connections:
                if alias != "default":  # the same as another
                    stack.enter_context(connections[alias].execute_wrapper(count))
            yield


def backend_seconds() -> float:
    """Return the CPU time of our database sessions, which the kernel counts in hundredths of a second."""
    from django.db import connections

    total = 0.0
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            used = psutil.Process(connection.connection.info.backend_pid).cpu_times()
            total += used.user + used.system
    return total


def return_some(meter: Meter, count: int) -> None:
    """Run `count` returns of orders that have arrived to their end, and as many that are withdrawn."""
    from django.conf import settings
    from django.db.models.functions import Now

    from delivery.models import ReturnParcel
    from orders.models import Order, Return
    from orders.returns import decisions
    from orders.returns.requests import Wanted, request_return, withdraw
    from shop.contracts.events import Line

    settings.RETURN_APPROVAL = "orders.returns.rules.approve_at_once"
    delivered = Order.objects.filter(status="COMPLETED", returns=None).prefetch_related("items").order_by("pk")
    requested = [
        request_return(order.pk, Wanted(lines=[Line(line.product_id, line.quantity) for line in order.items.all()])).pk
        for order in delivered[: 2 * count]
    ]
    meter.drain()
    for return_id in requested[count:]:
        withdraw(return_id)
    meter.drain()
    ReturnParcel.objects.filter(return_id__in=requested[:count]).update(due_at=Now())
    meter.drain()
    for one in Return.objects.filter(pk__in=requested[:count]).prefetch_related("items"):
        decisions.inspect(one.pk, {line.product_id: decisions.Found(line.quantity, 0, 0) for line in one.lines})
    meter.drain()
    ended = Return.objects.filter(pk__in=requested, status__in=("COMPLETED", "WITHDRAWN")).count()
    if ended < len(requested):
        raise Unfit(f"{ended} of {len(requested)} returns have ended")


def have_arrive(meter: Meter) -> None:
    """Have the parcels of all orders delivered."""
    from django.db.models.functions import Now

    from delivery.models import Delivery

    Delivery.objects.filter(due_at__isnull=False).update(due_at=Now())
    meter.drain()


def table(costs: dict[str, Cost], limit: int, count: int, *, of: str) -> Table:
    shown = Table(title=f"{count:,} {of}s, messages of up to {limit}: ms per {of}")
    shown.add_column("")
    for heading in ("Python", "PostgreSQL", "wall", "messages", "statements in each", "µs per event"):
        shown.add_column(heading, justify="right")
    for name, cost in sorted(costs.items(), key=lambda one: -one[1].wall):
        per_event = f"{1e6 * (cost.python + cost.postgresql) / cost.events:,.0f}" if cost.events else ""
        statements = f"{cost.statements / cost.calls:.1f}"
        shown.add_row(name, *_figures(cost, count), f"{cost.calls:,}", statements, per_event)
    total = Cost(*(sum(getattr(cost, name) for cost in costs.values()) for name in ("python", "postgresql", "wall")))
    shown.add_section()
    shown.add_row("all of them", *_figures(total, count), f"{sum(cost.calls for cost in costs.values()):,}", "", "")
    return shown


def _figures(cost: Cost, count: int) -> list[str]:
    return [f"{1000 * seconds / count:.3f}" for seconds in (cost.python, cost.postgresql, cost.wall)]


def main(arguments: Sequence[str]) -> int:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__.partition("\n")[0])
    parser.add_argument("--limits", type=int, nargs="+", default=[1, 100], help="events in a message, at most")
    parser.add_argument("--orders", type=int, help="default: 20 for each event in a message, 200 at the least")
    parser.add_argument("--returns", type=int, help="of them; default: twice the events in a message, 50 at the least")
    parser.add_argument("--profile", action="store_true", help="show Python's time by function instead")
    options = parser.parse_args(arguments)
    console = Console()
    os.environ |= {"BROKER_URL": "memory://", "HANDOVER_AFTER": "0", "DELIVERED_AFTER": "3600"}
    try:
        with own_databases():
            _measure(options, console)
    except Unfit as unfit:
        console.print(str(unfit), style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _measure(options: argparse.Namespace, console: Console) -> None:
    import django
    from celery import current_app
    from django.conf import settings
    from django.db import connections

    django.setup()
    import shop.celery  # noqa: F401 (its tasks are the steps)
    from benchmarks.load import Load, must_be_clean

    current_app.loader.import_default_modules()
    load = Load()
    for limit in options.limits:
        settings.SAGAS = replace(settings.SAGAS, batch_limit=limit)
        count = options.orders or max(200, 20 * limit)
        returns = options.returns or max(50, 2 * limit)
        Meter().run(load, max(50, 3 * limit))  # connections, plans, caches
        profile = cProfile.Profile(time.process_time) if options.profile else None
        meter, meter_of_returns = Meter(profile), Meter(profile)
        meter.run(load, count)
        Meter().run(load, max(0, 4 * returns - count))
        have_arrive(Meter())
        return_some(Meter(), returns)
        return_some(meter_of_returns, returns)
        must_be_clean()
        if profile:
            pstats.Stats(profile).sort_stats(os.environ.get("PS", "tottime")).print_stats(60)
        else:
            console.print(table(meter.costs, limit, count, of="order"))
            console.print(table(meter_of_returns.costs, limit, 2 * returns, of="return"))
    connections.close_all()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

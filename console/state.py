"""The live state of the shop: each service with its database, queue and outbox; the broker; Redis; orders.

The answer is cached for a second. Parts that are down are reported as down, and all others are shown regardless.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import httpx
from celery import current_app
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from console.orders import describe
from sagas.db.prepared import query
from sagas.outages import OUTAGES
from sagas.registry import local_services
from shop import faults
from shop.contracts.orders import AT_REST, FINAL
from shop.operations import timeline
from shop.operations.health import DOWN, UP, redis
from shop.operations.pending import backlog

FRESH_FOR = 1.0  # seconds
PATIENCE = 4.0  # seconds for all databases together; those not asked by then are left unknown
BROKER_TIMEOUT = 2
WEB_TIMEOUT = 1.0
COUNTED = 10_000  # rows counted at most; the page then says "more than"
LATEST = 5  # orders
LATE = 5.0  # seconds after which a waiting event is shown as a warning


@dataclass
class Queue:
    """A service's queue. `consumers` is None if the broker does not report it."""

    waiting: int
    consumers: int | None
    dead: int  # in the broker's dead-letter queue


@dataclass
class Service:
    """One service now. Ages are in seconds; None if nothing waits."""

    name: str
    database: str = ""  # UP, DOWN; empty if there was no time to ask
    web: str = ""  # UP, DOWN; empty for a service in this process
    queue: Queue | None = None
    oldest: float | None = None  # age of the oldest event waiting for this service
    unsent: int = 0  # events in its outbox
    lag: float | None = None  # age of the oldest of them
    deferred_age: float | None = None  # seconds since the oldest event whose delivery is deferred
    dead_letters: int = 0

    @property
    def up(self) -> bool:
        return DOWN not in (self.database, self.web)

    @property
    def marked(self) -> bool:
        """Whether there are dead letters, in the table or in the broker's dead-letter queue."""
        return bool(self.dead_letters or (self.queue and self.queue.dead))

    @property
    def late(self) -> bool:
        """Whether something waits for too long, or nothing consumes the queue."""
        ages = (self.oldest, self.lag, self.deferred_age)
        return any(age is not None and age > LATE for age in ages) or bool(self.queue and self.queue.consumers == 0)


@dataclass
class State:
    """The whole shop."""

    services: list[Service]
    broker: str = UP
    redis: str = UP
    unfinished: int | None = None  # orders; None while their database is down
    stalled: int | None = None  # of these, the orders without progress for STALLED_AFTER
    disputed: int = 0  # deliveries whose carrier reports another status
    latest: list[Any] = field(default_factory=list)  # orders, newest first
    faults: Mapping[str, float] = field(default_factory=dict)

    @property
    def down(self) -> list[str]:
        """The names of what is down."""
        named = {"broker": self.broker, "redis": self.redis}
        return [one.name for one in self.services if not one.up] + [name for name, is_ in named.items() if is_ == DOWN]


_lock = Lock()
_known: tuple[float, State] | None = None


def state() -> State:
    """The state now, at most `FRESH_FOR` seconds old."""
    global _known
    with _lock:
        if _known is None or time.monotonic() - _known[0] >= FRESH_FOR:
            found = ask()
            _known = time.monotonic(), found
        return _known[1]


def ask() -> State:
    """Query the state of every part."""
    give_up_at = time.monotonic() + PATIENCE
    services = {name: Service(name) for name in settings.SERVICES}
    found = State(list(services.values()), redis=redis(), faults=dict(faults.levels()))
    for name, answer in _web(settings.SERVICE_URLS).items():
        services[name].web = answer
    for name, service in services.items():
        if time.monotonic() < give_up_at:
            _ask_database(service, takes_part=name in local_services())
    try:
        for name, queue in _queues().items():
            services[name].queue = queue
    except OUTAGES:
        found.broker = DOWN
    if services["delivery"].database == UP:
        with suppress(*OUTAGES):
            found.disputed = apps.get_model("delivery", "Delivery").objects.exclude(disputed_by="")[:COUNTED].count()
    if services["orders"].database == UP:
        _ask_about_orders(found, services)
    return found


def _ask_database(service: Service, *, takes_part: bool) -> None:
    now = timezone.now()
    try:
        if takes_part:
            waiting = backlog(service.name, most=COUNTED)
            service.unsent, service.dead_letters = waiting.unsent, waiting.dead_letters
            service.lag, service.deferred_age = _age(waiting.unsent_since, now), _age(waiting.deferred_since, now)
        else:
            query(service.name, "SELECT 1")
        service.database = UP
    except (DatabaseError, InterfaceError):
        connections[service.name].close()
        service.database = DOWN


def _ask_about_orders(found: State, services: Mapping[str, Service]) -> None:
    orders = apps.get_model("orders", "Order").objects
    unfinished = orders.filter(look_at__isnull=False).exclude(status__in=FINAL)
    now = timezone.now()
    try:
        found.latest = list(orders.order_by("-created_at").prefetch_related("items")[:LATEST])
        describe(found.latest, know=settings.DEBUG)  # the same for all visitors
        found.unfinished = unfinished[:COUNTED].count()
        stalled_since = now - timedelta(seconds=settings.STALLED_AFTER)
        found.stalled = unfinished.filter(progress_at__lt=stalled_since).exclude(status__in=AT_REST)[:COUNTED].count()
        if any((one.queue and one.queue.waiting) or one.unsent for one in services.values()):
            for name, since in timeline.oldest_waiting().items():
                services[name].oldest = _age(since, now)
    except OUTAGES:
        pass  # a database has just gone down; the next call reports it


def _age(since: datetime | None, now: datetime) -> float | None:
    """Seconds since then. None for None, and for a time in the future, which is a lease of a relay at work."""
    return max(0.0, (now - since).total_seconds()) if since and since <= now + timedelta(seconds=1) else None


def _queues() -> dict[str, Queue]:
    """The queues of this process's services by name, without those not declared yet. Raises one of `OUTAGES` while the
    broker is down."""
    in_memory = settings.BROKER_URL.startswith("memory:")
    with current_app.connection_for_write(connect_timeout=BROKER_TIMEOUT) as connection:
        connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT, interval_start=0.1)
        queues = {}
        for service in local_services():
            with connection.channel() as channel:  # declaring a missing queue passively closes the channel
                try:
                    told = channel.queue_declare(service, passive=True)
                    dead = 0 if in_memory else channel.queue_declare(f"{service}.dead", passive=True).message_count
                except connection.channel_errors:
                    continue  # not declared yet
                queues[service] = Queue(told.message_count, None if in_memory else told.consumer_count, dead)
    return queues


def _web(urls: Mapping[str, str]) -> dict[str, str]:
    """Whether the web servers of services in other processes answer."""
    elsewhere = {name: url for name, url in urls.items() if url}
    if not elsewhere:
        return {}
    with (
        httpx.Client(timeout=WEB_TIMEOUT, trust_env=False) as client,
        ThreadPoolExecutor(len(elsewhere)) as pool,
    ):
        return dict(zip(elsewhere, pool.map(lambda url: _answers(client, url), elsewhere.values()), strict=True))


def _answers(client: httpx.Client, url: str) -> str:
    try:
        return UP if client.get(f"{url.rstrip('/')}/livez").is_success else DOWN
    except httpx.HTTPError:
        return DOWN

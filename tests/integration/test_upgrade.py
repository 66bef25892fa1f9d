"""Two successive releases side by side, under load and while processes die: forward, back, and forward again.

What both may leave behind for each other is in docs/operations.md, "Upgrade".
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from django.db import connections

from lab.chaos.client import Client, Outcome
from lab.orders import planned_orders
from lab.rig.servers import free_ports
from tests.support.flushing import drop_all
from tests.support.processes import Process, Processes, eventually
from tests.support.releases import before_and_after, is_made_up
from tests.support.running_shop import Shop

PASSWORD = "of all sample customers"
KINDS = {"normal": 60, "several lines": 20, "declined": 10, "cancelled by the customer": 10}
RATE = 10.0  # orders per second
A_PHASE = 12  # orders
NO_PATIENCE = {
    "DEBUG": "1",  # for the sample users
    "SEED_PASSWORD": PASSWORD,
    "HANDOVER_AFTER": "0.2",
    "DELIVERED_AFTER": "0.2",
    "STALLED_AFTER": "2",
}


class Releases:
    """The processes of both, and the orders that are placed with whichever serves."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.old_port, self.new_port = free_ports(2)
        before, after = before_and_after(folder)
        self.old = Processes(environment, _made(folder / "old-logs"), tree=before)
        self.new = Processes(environment, _made(folder / "new-logs"), tree=after)
        self.prefix = environment["DATABASE_PREFIX"]

    def done(self, process: Process) -> str:
        """What a command says that succeeds."""
        assert process.ends() == 0, process.log
        return process.log

    def web(self, release: Processes) -> Process:
        port = self.old_port if release is self.old else self.new_port
        return release.web(port, threads=2)

    def worker(self, release: Processes) -> Process:
        process = release.worker(f"worker-of-the-{'old' if release is self.old else 'new'}", concurrency=1)
        process.says("ready.")
        return process

    def relay(self, release: Processes) -> Process:
        process = release.relay()
        process.says("Relaying")
        return process

    def load(self) -> "Load":
        urls = [f"http://127.0.0.1:{port}" for port in (self.old_port, self.new_port)]
        with httpx.Client(base_url=urls[0], trust_env=False, timeout=30) as http:
            ids = [one["id"] for one in http.get("/api/v1/products").json()["results"]]
            body = {"email": "customer1@example.com", "password": PASSWORD}
            token = http.post("/api/v1/auth/token", json=body).json()["access"]
        return Load(urls, token, sorted(ids))

    def ask(self, service: str, sql: str) -> Any:
        """One value of a service's database."""
        server = connections[service].settings_dict
        where = {name: server[name.upper()] or None for name in ("host", "port", "user", "password")}
        with closing(psycopg2.connect(**where, dbname=f"{self.prefix}{service}")) as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def at_rest(self) -> bool:
        """Whether every order has ended, and every event has reached whoever it could."""
        assert self.ask("orders", "SELECT count(*) FROM orders_order WHERE look_at IS NOT NULL") == 0
        assert self.ask("orders", "SELECT count(*) FROM orders_unsent") == 0
        return True

    def letters(self) -> list[str]:
        """The open dead letters, by where they were set aside."""
        found = []
        for service in ("orders", "notifications", "inventory", "payments", "delivery"):
            sql = f"SELECT coalesce(json_agg(step), '[]') FROM {service}_deadletter WHERE resolved_at IS NULL"
            found += self.ask(service, sql)
        return found


class Load:
    """Orders at a steady rate, a phase at a time."""

    def __init__(self, urls: list[str], token: str, products: list[int]) -> None:
        orders = list(islice(planned_orders(7, kinds=KINDS, products=products), 10 * A_PHASE))
        self.client = Client(urls, [token] * 8, orders, RATE)
        self.client.hold_back(len(orders))
        self.client.start(4)
        self.allowed = 0

    def goes_on(self) -> None:
        """Begin to place the orders of one more phase."""
        for _ in range(A_PHASE):
            self.client.one_more()
        self.allowed += A_PHASE

    def is_placed(self) -> None:
        """Wait until all that may be placed is."""
        eventually(lambda: self.client.placed >= self.allowed)

    def ends(self) -> None:
        self.client.enough()
        eventually(lambda: not self.client.busy)


@pytest.fixture
def releases(shop: Shop, tmp_path: Path, django_db_blocker: Any) -> Iterator[Releases]:
    """The old release runs, on its own schema. Nothing else does."""
    environment = {**shop.processes.environment, **NO_PATIENCE, "SHOP_VAR": str(tmp_path / "var")}
    prefix = environment["DATABASE_PREFIX"] = environment["DATABASE_PREFIX"].replace("it_", "up_")
    releases = Releases(environment, tmp_path)
    try:
        releases.done(releases.old.manage("migrate_all", "migrate_all"))
        yield releases
    finally:
        releases.new.stop()
        releases.old.stop()
        drop_all(prefix)


def test_two_releases_run_side_by_side_forward_and_back(releases: Releases):
    old, new = releases.old, releases.new
    releases.done(old.manage("seed", "seed", "--quiet"))
    old_web, old_worker, old_relay = releases.web(old), releases.worker(old), releases.relay(old)
    old.beat()
    load = releases.load()

    # Forward: the schema first, under the old release; then workers, relays, web servers.
    load.goes_on()
    releases.done(new.manage("migrate_all", "migrate_all"))
    load.goes_on()
    load.is_placed()
    new_worker = releases.worker(new)
    load.goes_on()
    new_worker.loses_a_child()  # in the middle of it
    old_worker.tell_to_stop()
    new_relay = releases.relay(new)
    old_relay.kill()
    new_web = releases.web(new)
    load.goes_on()
    load.is_placed()
    eventually(releases.at_rest)
    assert releases.letters() == []

    # Back, in the opposite order: what only the new one knows is set aside, and nothing else stands still.
    new_relay.kill()
    load.goes_on()
    load.is_placed()
    new_web.kill()
    old_relay = releases.relay(old)
    old_worker = releases.worker(old)
    new_worker.kill()
    load.goes_on()
    load.is_placed()
    eventually(releases.at_rest)
    if is_made_up():
        assert {"relay"} <= set(releases.letters()) <= {"relay", "notifications.note_weight"}

    # And forward again: what was set aside is handled.
    releases.worker(new)
    old.stop(old_worker, old_relay)
    releases.relay(new)
    releases.web(new)
    old.stop(old_web)
    load.goes_on()
    load.is_placed()
    releases.done(new.manage("replay", "deadletters", "replay", "--all"))
    eventually(lambda: releases.letters() == [])
    eventually(releases.at_rest)
    load.ends()

    assert {(one.what, one.outcome) for one in load.client.operations} <= {
        ("place", Outcome.OK),
        ("cancel", Outcome.OK),
        ("cancel", Outcome.FAILED),  # the carrier was faster
    }
    releases.done(new.manage("audit", "audit", "--strict"))
    if is_made_up():
        with_a_gift = "SELECT count(*) FROM orders_order WHERE gift IS NOT NULL"
        gifts = releases.ask("orders", with_a_gift)
        assert gifts == releases.ask("notifications", "SELECT count(*) FROM notifications_weight") > 0
        assert gifts < releases.ask("orders", "SELECT count(*) FROM orders_order")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder

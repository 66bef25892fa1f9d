"""Every key is replaced under load, process by process: no request is refused, no event becomes a dead letter.

In three steps, as docs/operations.md says. `tests/shop/test_rotation.py` has what each kind of key does in them; here
processes with different keys run side by side.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from django.apps import apps
from django.contrib.auth.hashers import make_password

from accounts.models import User
from lab.rig.servers import free_ports
from orders.models import FINAL, Order
from sagas.conf import choreography
from tests.support.ordering import PAID_AND_SENT
from tests.support.processes import Process, eventually
from tests.support.running_shop import Shop, violations

OLD, NEW = "the old secret of everything, for now", "the new secret of everything, from now on"
PASSWORD = "of somebody who orders"
PAUSE = 0.05  # seconds between two orders
ORDERS = 10  # placed, at least, while each process is replaced


class Door:
    """Two web servers of which one or both run. Who finds one closed goes to the other."""

    def __init__(self) -> None:
        self.ports = free_ports(2)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        for port in self.ports:
            with suppress(httpx.ConnectError), httpx.Client(trust_env=False, timeout=30) as http:
                return http.request(method, f"http://127.0.0.1:{port}/api/v1/{path}", **more)
        raise AssertionError("no web server runs")


class Customer:
    """Somebody who orders all the time, and has the token renewed now and then. `refused` is what was not granted."""

    def __init__(self, door: Door, product_id: int) -> None:
        self.door, self.body = door, {"productId": product_id, "quantity": 1, **PAID_AND_SENT}
        self.pair = self.done("POST", "auth/token", json={"email": "somebody@example.com", "password": PASSWORD})
        self.placed = 0
        self.refused: list[str] = []

    def done(self, method: str, path: str, **more: Any) -> Any:
        answer = self.door.ask(method, path, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.pair['access']}"}

    def renew(self) -> None:
        self.pair = self.done("POST", "auth/token/refresh", json={"refresh": self.pair["refresh"]})

    @contextmanager
    def ordering(self) -> Iterator[None]:
        """Within the block orders are placed and read, one after the other."""
        enough = threading.Event()

        def go_on() -> None:
            while not enough.wait(PAUSE):
                try:
                    order = self.done("POST", "orders", json=self.body, headers=self.headers)
                    self.done("GET", f"orders/{order['id']}", headers=self.headers)
                    self.placed += 1
                except AssertionError as error:
                    self.refused.append(str(error))
                    return

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def orders(self, count: int) -> None:
        """Wait until so many more are placed."""
        until = self.placed + count
        eventually(lambda: self.placed >= until or bool(self.refused))


class Keys:
    """The processes of the shop, and the keys they run with: the first signs and seals, all are believed."""

    def __init__(self, shop: Shop, door: Door) -> None:
        self.shop, self.door = shop, door
        self.running: dict[str, Process] = {}

    def start(self, kind: str, *ring: str) -> Process:
        keys = {"SECRET_KEY": ",".join(ring), "SEAL_KEY": ",".join(f"{one}, for seals" for one in ring)}
        processes = self.shop.processes
        if kind == "web":
            in_use, free = self.door.ports
            process = processes.web(free, threads=4, **keys)
            self.door.ports = [free, in_use]
            return process
        process, ready = {
            "worker": lambda: (processes.worker(f"worker{len(processes.all)}", concurrency=2, **keys), "ready."),
            "relay": lambda: (processes.relay(**keys), "Relaying"),
            "beat": lambda: (processes.beat(f"beat{len(processes.all)}", **keys), "beat: Starting"),
        }[kind]()
        process.says(ready)
        return process

    def use(self, kind: str, *ring: str) -> None:
        """Start a process with these keys; then end the one that it replaces."""
        former = self.running.get(kind)
        self.running[kind] = self.start(kind, *ring)
        if former:
            former.tell_to_stop()
            former.has_stopped()


KINDS = ("worker", "relay", "beat", "web")


@pytest.mark.soak
def test_all_keys_are_replaced_under_load(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    for name, value in {"HANDOVER_AFTER": "0", "DELIVERED_AFTER": "0", "ORDERS_PER_MINUTE": "0", "DEBUG": "1"}.items():
        monkeypatch.setitem(shop.processes.environment, name, value)
    User.objects.filter(pk=shop.customer).update(password=make_password(PASSWORD))
    shop.set_stock(shop.products[0], 100_000)
    door = Door()
    keys = Keys(shop, door)
    for kind in KINDS:
        keys.use(kind, OLD)
    customer = Customer(door, shop.products[0])
    first = customer.headers

    for ring in ((OLD, NEW), (NEW, OLD)):
        with customer.ordering():
            for kind in KINDS:
                keys.use(kind, *ring)
                customer.orders(ORDERS)
        customer.renew()  # with the new key, in the second step
    eventually(_all_is_done)  # nothing is under way that was sealed with the old one
    with customer.ordering():
        for kind in KINDS:
            keys.use(kind, NEW)
            customer.orders(ORDERS)

    assert customer.refused == []
    assert door.ask("GET", "users/me", headers=first).status_code == 401  # the old key is believed no more
    eventually(_all_is_done)
    assert set(Order.objects.values_list("status", flat=True)) == {Order.Status.COMPLETED}
    assert Order.objects.count() == customer.placed >= 3 * len(KINDS) * ORDERS
    assert not any(apps.get_model(service, "DeadLetter").objects.exists() for service in choreography().services)


def _all_is_done() -> bool:
    """Every order has ended, and everything adds up: no event is under way."""
    assert not Order.objects.exclude(status__in=FINAL).exists()
    assert violations() == []
    return True

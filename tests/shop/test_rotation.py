"""Every key is replaced while orders are under way and people are signed in: nothing is refused, no letter is dead.

In three steps: everybody learns the new key, everybody signs with it, nobody believes the old one any more.
"""

import json
import time
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from rest_framework.test import APIClient

from accounts import services
from accounts.models import User
from delivery.models import Delivery
from delivery.signatures import signature
from inventory.services import seed_stock
from orders.models import Order
from sagas.conf import choreography
from sagas.testing import Bus
from shop.api import tokens
from shop.api.keys import derived_private_key, public_key
from shop.callers import derived_key, public_part, rings
from shop.calls import wire
from shop.contracts.accounts import AccountsService
from shop.contracts.carriers import SANDBOXES
from tests.conftest import SERVICES

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]

API = "/api/v1"
PATH = wire.path_of(AccountsService, "get_users", "accounts")
ELSEWHERE = "2 Low Street"
OLD, NEW = "the old secret of everything for now", "the new secret of everything from now on"


class Keys:
    """All keys of the shop, made from secrets: the first signs and seals, all are believed."""

    def __init__(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._settings, self._monkeypatch = settings, monkeypatch

    def use(self, *ring: str) -> None:
        first, *others = ring
        to = self._settings
        to.SECRET_KEY, to.SECRET_KEY_FALLBACKS = first, others
        to.SEAL_KEYS = ring
        to.CARRIER_SECRETS = {code: [f"{one} with {code}" for one in ring] for code in SANDBOXES}
        to.SHOP_SERVICE, to.INTERNAL_KEY = "orders", derived_key(first, "orders")
        to.INTERNAL_CALLERS = rings(f"orders={public_part(derived_key(one, 'orders'))}" for one in ring)
        public = "".join(public_key(derived_private_key(one)) for one in ring)
        backend = tokens.Backend("EdDSA", derived_private_key(first), public, issuer="shop")
        self._monkeypatch.setattr(tokens, "backend", backend)


class Customer:
    """Somebody signed in by a browser and by an app, with orders under way and a page of them open."""

    def __init__(self, user: User) -> None:
        self.browser, self.app = Client(), APIClient()
        self.browser.force_login(user)
        pair = services.issue(user)
        self.refresh = pair.refresh
        self.app.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
        self.orders = [self.order(), self.order()]
        self.moves(self.orders[0])
        self.next_page = self.read("/orders?limit=1")["next"]

    def order(self) -> int:
        body = {"productId": 1, "quantity": 1, "address": "서울특별시 중구 세종대로 110", "paymentToken": "tok_ok"}
        answer = self.app.post(f"{API}/orders", body)
        assert answer.status_code == 202, answer.content
        return int(answer.json()["id"])

    def moves(self, order_id: int) -> None:
        changes = f"{API}/orders/{order_id}/changes"
        answer = self.app.post(changes, {"address": ELSEWHERE}, headers={"Idempotency-Key": "moved"})
        assert answer.status_code == 202, answer.content

    def read(self, path: str) -> Any:
        answer = self.app.get(path if "://" in path else f"{API}{path}")
        assert answer.status_code == 200, answer.content
        return answer.json()

    def goes_on(self) -> None:
        """Nothing that this customer has is refused."""
        self.orders.append(self.order())
        assert len(self.read(self.next_page)["results"]) == 1
        assert self.browser.get(f"{API}/users/me").status_code == 200
        answer = APIClient().post(f"{API}/auth/token/refresh", {"refresh": self.refresh})
        assert answer.status_code == 200, answer.content
        self.refresh = answer.json()["refresh"]


def carrier_delivers(order_id: int, secret: str) -> int:
    number = Delivery.objects.get(order_id=order_id).tracking_number
    body = json.dumps({"eventId": f"e{order_id}", "trackingNumber": number, "status": "DELIVERED"}).encode()
    at = str(int(time.time()))
    headers = {"X-Carrier-Timestamp": at, "X-Carrier-Signature": signature(f"{secret} with {number[:2]}", at, body)}
    return (
        APIClient()
        .post(f"{API}/deliveries/carrier-events", body, content_type="application/json", headers=headers)
        .status_code
    )


def test_all_keys_are_replaced_under_way(bus: Bus, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.HANDOVER_AFTER = 3600  # until the carrier says so
    seed_stock({1: 100})
    keys, user = Keys(settings, monkeypatch), User.objects.create(email="hana@example.com", name="Hana", password="!")
    keys.use(OLD)
    customers = [Customer(user)]
    calls = [wire.sign(PATH, b"{}")]

    for ring in ((OLD, NEW), (NEW, OLD)):
        keys.use(*ring)
        calls.append(wire.sign(PATH, b"{}"))
        customers.append(Customer(user))
        for customer in customers:
            customer.goes_on()
    for headers in calls:
        assert wire.verify(PATH, headers, b"{}")[0] == "orders"
    bus.drain()
    placed = sorted(order_id for customer in customers for order_id in customer.orders)
    assert Delivery.objects.filter(status="PREPARING").exclude(address="").count() == len(placed) > 8
    assert {carrier_delivers(order_id, (OLD, NEW)[order_id % 2]) for order_id in placed} == {202}

    keys.use(NEW)
    last = Customer(user)
    customers[-1].goes_on()  # who had signed in with the new one
    bus.drain()

    open_by_now = {*last.orders, customers[-1].orders[-1]}
    assert {carrier_delivers(order_id, OLD) for order_id in open_by_now} == {401}
    assert {carrier_delivers(order_id, NEW) for order_id in open_by_now} == {202}
    bus.drain()
    assert set(Order.objects.values_list("status", flat=True)) == {"COMPLETED"}
    moved = {customer.orders[0] for customer in [*customers, last]}
    assert set(Delivery.objects.filter(address=ELSEWHERE).values_list("order_id", flat=True)) == moved
    for service in choreography().services:
        assert not apps.get_model(service, "DeadLetter").objects.exists()
    with pytest.raises(wire.BadSignature):
        wire.verify(PATH, calls[0], b"{}")

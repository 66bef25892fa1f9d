"""Every change by staff, whatever the way, leaves one entry with who, before and after; entries stay as they are."""

import json
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from django.test import Client
from rest_framework.test import APIClient

from accounts import clients
from accounts.models import User
from accounts.services import issue
from catalog.models import Product, StaffAction
from desk.admin import DeskAdmin
from inventory.services import seed_stock
from orders.models import Order
from sagas.admin import ReadOnlyAdmin
from sagas.events import encode
from shop.contracts.events import Line, OrderCreated
from shop.stafflog import by_command
from tests.conftest import SERVICES
from tests.support.ordering import PAID_AND_SENT, place_order

pytestmark = pytest.mark.django_db(databases=SERVICES)


@pytest.fixture
def boss() -> User:
    return User.objects.create(email="boss@example.com", name="Boss", password="!", is_staff=True, is_superuser=True)


@pytest.fixture
def by_api(boss: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(boss).access}")
    return client


@pytest.fixture
def in_admin(boss: User) -> Client:
    client = Client()
    client.force_login(boss)
    return client


@pytest.fixture
def product() -> Product:
    seed_stock({1: 10})
    return Product.objects.create(pk=1, name="Thing", price=1000, category="BOOK", brand="A")


def entries(service: str) -> list[tuple[Any, ...]]:
    rows = apps.get_model(service, "StaffAction").objects.order_by("pk")
    return list(rows.values_list("way", "action", "target", "before", "after"))


# --- By API -----------------------------------------------------------------------------------------------------------
def test_a_price_changed_by_api(by_api: APIClient, boss: User, product: Product):
    path = f"/api/v1/products/{product.pk}"
    assert by_api.patch(path, {"price": 1}, headers={"If-Match": "*"}).status_code == 200
    assert entries("catalog") == [("api", "change", "product 1", {"price": 1000}, {"price": 1})]
    assert StaffAction.objects.values_list("actor_id", flat=True).get() == boss.pk


def test_a_program_is_named(product: Product):
    program, secret = clients.add(name="ERP", rights=["catalog.change_product"], groups=[])
    token = clients.grant(client_id=program.client_id, secret=secret).access_token
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.patch(f"/api/v1/products/{product.pk}", {"price": 1}, headers={"If-Match": "*"}).status_code == 200
    assert client.post("/api/v1/products", {"name": "New", "price": 5, "category": "BOOK"}).status_code == 403
    entry = StaffAction.objects.get()
    assert (entry.actor, entry.actor_id, entry.way) == (str(program), program.user_id, "api")


def test_a_product_put_up_by_api(by_api: APIClient):
    wanted = {"name": "New", "price": 5, "category": "BOOK"}
    assert by_api.post("/api/v1/products", wanted).status_code == 201
    ((way, action, _, before, after),) = entries("catalog")
    assert (way, action, before, after["price"]) == ("api", "create", None, 5)


def test_stock_booked_by_api(by_api: APIClient, product: Product):
    assert by_api.post("/api/v1/inventory/1/adjustments", {"delta": 5, "reason": "came"}).status_code == 201
    assert entries("inventory") == [
        ("api", "book", "stock of product 1 at MAIN", {"on_hand": 10}, {"on_hand": 15, "reason": "came"})
    ]


def test_what_is_refused_leaves_no_entry(by_api: APIClient, product: Product):
    assert by_api.post("/api/v1/inventory/1/adjustments", {"delta": -50, "reason": "x"}).status_code == 409
    assert by_api.patch("/api/v1/products/1", {"price": 1}, headers={"If-Match": '"9"'}).status_code == 412
    assert entries("inventory") == entries("catalog") == []


def test_orders_for_others_and_cancelled_for_them(by_api: APIClient, boss: User, product: Product, bus: Any):
    for user_id in (3, boss.pk):
        order = {"productId": 1, "quantity": 1, "userId": user_id, **PAID_AND_SENT}
        if user_id == 3:
            assert by_api.post("/api/v1/orders", order).status_code == 202
    (order_of_3,) = Order.objects.all()
    assert by_api.post(f"/api/v1/orders/{order_of_3.pk}/cancel").status_code == 202
    target = f"order {order_of_3.pk}"
    assert [entry[:3] for entry in entries("orders")] == [("api", "order for", target), ("api", "cancel", target)]
    assert entries("orders")[1][3]["status"] == "PENDING"


def test_what_customers_and_sagas_do_is_not_of_staff(product: Product, bus: Any):
    client = APIClient()
    customer = User.objects.create(email="hana@example.com", name="Hana", password="!")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(customer).access}")
    order = place_order(user_id=customer.pk, lines=[Line(1, 1)])
    assert client.post(f"/api/v1/orders/{order.pk}/cancel").status_code == 202
    bus.drain()
    assert all(entries(service) == [] for service in SERVICES)


# --- In the admin and the console -------------------------------------------------------------------------------------
def test_a_user_changed_in_the_admin_without_personal_data(in_admin: Client):
    hana = User.objects.create(email="hana@example.com", name="Hana")
    path = f"/admin/accounts/user/{hana.pk}/change/"
    form = in_admin.get(path).context["adminform"].form
    filled = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    assert in_admin.post(path, filled | {"phone": "010-9999-0000", "is_staff": "on"}).status_code == 302
    assert entries("accounts") == [
        ("admin", "change", f"user {hana.pk}", {"phone": "…", "is_staff": False}, {"phone": "…", "is_staff": True})
    ]
    password = {"password1": "correct horse 7", "password2": "correct horse 7", "usable_password": "true"}
    assert in_admin.post(f"/admin/accounts/user/{hana.pk}/password/", password).status_code == 302
    assert "correct horse" not in json.dumps(entries("accounts"))
    assert len(entries("accounts")) == 2


def test_a_group_and_a_sandbox_switch_in_the_admin(in_admin: Client):
    assert in_admin.post("/admin/auth/group/add/", {"name": "interns"}).status_code == 302
    assert [entry[:2] for entry in entries("accounts")] == [("admin", "add")]
    assert (
        in_admin.post("/admin/payments/sandboxswitch/add/", {"gateway": "KAKAO_PAY", "away": "on"}).status_code == 302
    )
    assert [entry[:2] for entry in entries("payments")] == [("admin", "add")]


def test_an_order_cancelled_in_the_console(in_admin: Client, bus: Any, product: Product):
    order = place_order(user_id=3, lines=[Line(1, 1)])
    assert in_admin.post(f"/console/orders/{order.pk}/cancel", {"why": "twice"}).status_code == 302
    assert ("console", "cancel", f"order {order.pk}") in [entry[:3] for entry in entries("orders")]


def test_every_list_of_the_admin_that_can_change_anything_writes_the_log():
    lists = admin.site._registry.values()
    assert [one for one in lists if not isinstance(one, DeskAdmin | ReadOnlyAdmin)] == []


# --- By command -------------------------------------------------------------------------------------------------------
def test_commands_say_who_ran_them(bus: Any, product: Product):
    from sagas import dead_letters

    order = place_order(user_id=3, lines=[Line(1, 1)])
    call_command("redrive", str(order.pk), stdout=StringIO())
    event = encode(OrderCreated(order_id=7, checkout=None))
    dead_letters.record("inventory", "inventory.reserve_stock", event, ValueError())
    letter = apps.get_model("inventory", "DeadLetter").objects.get()
    call_command("deadletters", "discard", "inventory", str(letter.pk), "--reason", "a test", stdout=StringIO())
    assert entries("orders") == [("redrive", "emit again", f"order {order.pk}", None, None)]
    assert entries("inventory") == [("deadletters", "discard", f"dead letter {letter.pk}", None, None)]
    User.objects.create_superuser("new@example.com", "correct horse 7", name="New")
    assert [entry[:2] for entry in entries("accounts")] == [("createsuperuser", "add a superuser")]


def test_all_services_as_one(by_api: APIClient, boss: User, product: Product):
    by_api.patch("/api/v1/products/1", {"price": 7}, headers={"If-Match": "*"})
    by_api.post("/api/v1/inventory/1/adjustments", {"delta": 5, "reason": "came"})
    out = StringIO()
    call_command("stafflog", "--actor", str(boss.pk), stdout=out)
    shown = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(one["service"], one["actor_id"]) for one in shown] == [("inventory", boss.pk), ("catalog", boss.pk)]


# --- It stays ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("statement", ["UPDATE {}_staffaction SET actor = 'x'", "DELETE FROM {}_staffaction"])
def test_an_entry_cannot_be_changed_or_deleted(service: str, statement: str):
    with by_command("test"):
        from shop import stafflog

        stafflog.record(service, "x", "y")
    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic(using=service):
        connections[service].cursor().execute(statement.format(service))
    assert len(entries(service)) == 1


def test_nor_in_the_admin(in_admin: Client):
    with by_command("test"):
        from shop import stafflog

        stafflog.record("catalog", "x", "y")
    path = f"/admin/catalog/staffaction/{StaffAction.objects.get().pk}"
    assert in_admin.get(f"{path}/change/").status_code == 200
    assert in_admin.post(f"{path}/change/", {"actor": "nobody"}).status_code == 403
    assert in_admin.post(f"{path}/delete/", {"post": "yes"}).status_code == 403

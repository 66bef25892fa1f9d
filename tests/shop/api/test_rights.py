"""Who may what: every route of the URLconf, by every role, each verb; fields of others' rows; the admin; the pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework.views import APIView

from accounts import clients
from accounts.models import User
from accounts.services import LocalAccounts, LocalContacts, issue, make_groups
from catalog.models import Product
from commands.management.commands.rights import Route, addresses, routes
from delivery.models import Delivery
from inventory.services import seed_stock
from notifications.models import Notification, Webhook, WebhookMessage
from orders.models import Order, Return
from payments.models import Payment
from shop.api.permissions import ANYBODY, SIGNED, Own, is_right
from shop.api.rights import GROUPS, SCOPES
from shop.calls import substituting
from shop.contracts.accounts import AccountsService, ContactsService
from tests.conftest import SERVICES
from tests.support.ordering import PAID_AND_SENT

pytestmark = pytest.mark.django_db(databases=SERVICES)

STRANGER, CUSTOMER, NO_GROUP, BOSS = "nobody", "a customer", "staff without a group", "a superuser"
MACHINE, ITS_GROUP = "a program", "stock clerks"
ROLES = (STRANGER, CUSTOMER, NO_GROUP, *GROUPS, MACHINE, BOSS)
PHONE = "+821012345678"
EVENT = "0192b6f0-0000-7000-8000-000000000001"
VERBS = ("get", "post", "put", "patch", "delete")

# What is not of the API: who may look. Of pages with a right, a test below asks as every role.
PAGES = {
    "/livez": ANYBODY,
    "/readyz": ANYBODY,
    "/metrics": ANYBODY,
    "/favicon.ico": ANYBODY,
    "/": ANYBODY,
    "/account/verify": ANYBODY,
    "/account/forgot": ANYBODY,
    "/account/reset": ANYBODY,
    "/account/second-factor": ANYBODY,  # of staff; others are led to the sign-in
    "/console/state": "shop.operate",
    "/console/orders": "development machines only",
    "/console/orders/<id:order_id>": "orders.view_order",
    "/console/orders/<id:order_id>/now": "orders.view_order",
    "/console/orders/<id:order_id>/events/<uuid:event_id>": "orders.view_order",
    "/console/orders/<id:order_id>/change": "orders.change_order",
    "/console/orders/<id:order_id>/<str:action>": "orders.change_order",
    "/console/dead-letters": "shop.operate",
    "/console/faults": "development machines only",
    "/i18n/setlang/": ANYBODY,
    "/api-auth/login/": ANYBODY,
    "/api-auth/logout/": ANYBODY,
    "/api/v1/": ANYBODY,
    "/api/v1/payments/return/<str:signed>": ANYBODY,  # who has the link, which is signed
    "/api/v1/payments/sandbox/<str:signed>": ANYBODY,
    "/api/v1/schema/": ANYBODY,
    "/docs/": ANYBODY,
    "/static/<path:path>": ANYBODY,
}


@pytest.fixture
def people() -> dict[str, User]:
    """One user of each role."""
    make_groups()
    users = {role: User(email=f"{pk}@example.com", name=role, is_staff=True) for pk, role in enumerate(ROLES)}
    users[CUSTOMER].is_staff, users[BOSS].is_superuser = False, True
    client, _secret = clients.add(name=MACHINE, rights=[], groups=[ITS_GROUP])
    users[MACHINE] = client.user
    for role, user in users.items():
        user.save()
        if role in GROUPS:
            user.groups.add(Group.objects.get(name=role))
    return users


@pytest.fixture
def rows(bus: Any) -> Iterator[dict[str, Any]]:
    """Something of everything that belongs to a customer; what routes name it by."""
    hana = User.objects.create(email="hana@example.com", name="Hana", phone=PHONE)
    Product.objects.create(pk=1, name="Thing", price=1000, category="BOOK")
    seed_stock({1: 10})
    order = Order.objects.create(user_id=hana.pk, total_price=1000, payment_gateway="TOSS_PAYMENTS")
    Payment.objects.create(order_id=order.pk, user_id=hana.pk, amount=1000, status="COMPLETED", token="tok_secret")
    Delivery.objects.create(
        order_id=order.pk,
        user_id=hana.pk,
        tracking_number="CJ1",
        carrier="CJ",
        status="PREPARING",
        address="Seoul 1",
        due_at=timezone.now(),
    )
    Notification.objects.create(
        event_id=EVENT, order_id=order.pk, user_id=hana.pk, type="ORDER_RECEIVED",
        channel="SMS", recipient=PHONE, body="x", status="SENT", due_at=timezone.now(),
    )  # fmt: skip
    Return.objects.create(pk=order.pk + 1, order=order, user_id=hana.pk, kind="REFUND", refunded=0, kept=0)
    owner = User.objects.create(email="erp@example.com", name="ERP", is_staff=True, is_superuser=True)
    Webhook.objects.create(pk=1, owner_id=owner.pk, url="https://erp.example.com/", events=["order.paid"], secret="x")
    WebhookMessage.objects.create(pk=1, webhook_id=1, event_id=EVENT, type="order.paid", body="{}")
    with substituting(ContactsService, LocalContacts()):  # who asks what the webhook's owner may be told
        yield {
            "event_id": EVENT,
            "user_id": hana.pk,
            "order_id": order.pk,
            "return_id": order.pk + 1,
            "product_id": 1,
            "tracking_number": "CJ1",
            "service": "orders",
            "account": "CJ",
            "gateway": "TOSS_PAYMENTS",
            "webhook_id": 1,
            "message_id": 1,
        }


def client_of(role: str, people: dict[str, User]) -> APIClient:
    client = APIClient(raise_request_exception=False)
    if role == MACHINE:
        machine = people[MACHINE].client
        granted = clients.grant(client_id=machine.client_id, secret=clients.rotate(machine))
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {granted.access_token}")
    elif role != STRANGER:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(people[role]).access}")
    return client


def path_to(route: str, rows: dict[str, Any]) -> str:
    return re.sub(r"<\w+:(\w+)>", lambda match: str(rows[match[1]]), route)


def rights_of(role: str) -> frozenset[str]:
    return frozenset(SCOPES if role == BOSS else GROUPS.get(ITS_GROUP if role == MACHINE else role, ()))


def of_the_api() -> Iterator[tuple[str, type[APIView]]]:
    for path, callback in addresses():
        view = getattr(callback, "view_class", None)
        if isinstance(view, type) and issubclass(view, APIView) and path not in PAGES:
            yield path, view


# --- Nothing is forgotten ---------------------------------------------------------------------------------------------
def test_every_verb_of_every_route_says_who_may():
    seen = 0
    for path, view in of_the_api():
        for verb in VERBS:
            if hasattr(view, verb):
                needed = getattr(view, "rights", {}).get(verb.upper())
                assert needed, f"{verb.upper()} {path} declares no right"
                right = needed.others if isinstance(needed, Own) else needed
                assert right in (ANYBODY, *SIGNED, "") or right in SCOPES, f"{right} is missing in shop/api/rights.py"
                seen += 1
    assert seen > 20


def test_every_other_route_is_known_to_this_test():
    api = {path for path, _ in of_the_api()}
    others = {path for path, _ in addresses() if not path.startswith("/admin/")} - api
    assert others == set(PAGES)


def test_who_declares_nothing_lets_nobody_pass(people: dict[str, User]):
    class Forgotten(APIView):
        def get(self, request: Any) -> None:
            raise AssertionError

    from rest_framework.test import APIRequestFactory, force_authenticate

    request = APIRequestFactory().get("/")
    force_authenticate(request, people[BOSS])
    people[BOSS].is_superuser = False
    assert Forgotten.as_view()(request).status_code == 403


def test_every_right_is_a_permission_of_djangos():
    known = {
        f"{one.content_type.app_label}.{one.codename}" for one in Permission.objects.select_related("content_type")
    }
    assert (SCOPES.keys() | {right for rights in GROUPS.values() for right in rights}) - known == set()


def test_the_table_of_rights_is_up_to_date():
    call_command("rights", check=True, verbosity=0)


# --- The matrix -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", ROLES)
def test_every_route_answers_every_role_as_declared(role: str, people: dict[str, User], rows: dict[str, Any]):
    client, rights = client_of(role, people), rights_of(role)
    asked = 0
    for route in routes():
        path = path_to(route.path, rows)
        answer = getattr(client, route.verb.lower())(path, {}) if route.verb != "GET" else client.get(path)
        assert outcome(answer) == expected(route, role, rights), (route, role, answer.status_code)
        asked += 1
    assert asked > 20


def outcome(answer: Any) -> str:
    """ "401", "403" or "404"; else "passed": a refusal for what was sent shows that it was read."""
    return str(answer.status_code) if answer.status_code in (401, 403, 404) else "passed"


def expected(route: Route, role: str, rights: frozenset[str]) -> str:
    needs = route.needs
    if needs == ANYBODY:
        # Signing in needs no right, and these tokens and passwords are not there.
        return "passed"
    if role == STRANGER or needs in SIGNED:
        return "401"
    if is_right(needs):
        return "passed" if needs in rights else "403"
    assert isinstance(needs, Own)
    if role == MACHINE and needs.others not in rights:
        return "403"  # a program has nothing of its own
    one = "<" in route.path
    if not one or needs.others in rights:
        return "passed"
    # Who may look at an order and not cancel or change it is told so; for the others it does not exist.
    acting = route.path.endswith("/cancel") or (route.verb, route.path.endswith("/changes")) == ("POST", True)
    return "403" if acting and "orders.view_order" in rights else "404"


@pytest.mark.parametrize("role", ROLES[1:])
@pytest.mark.parametrize("way", ["token", "session"])
def test_lists_show_others_rows_to_those_with_the_right(
    role: str, way: str, people: dict[str, User], rows: dict[str, Any]
):
    client = client_of(role, people)
    if way == "session":
        client = APIClient()
        client.force_login(people[role])
    for path, right in {
        "users": "accounts.view_user",
        "orders": "orders.view_order",
        "returns": "orders.view_return",
        "payments": "payments.view_payment",
        "deliveries": "delivery.view_delivery",
        "notifications": "notifications.view_notification",
    }.items():
        owner = "id" if path == "users" else "userId"
        answer = client.get(f"/api/v1/{path}")
        if way == "token" and role == MACHINE and right not in rights_of(role):
            assert answer.status_code == 403, path
            continue
        found = {row[owner] for row in answer.json()["results"]}
        assert (rows["user_id"] in found) == (right in rights_of(role)), (path, role)


@pytest.mark.parametrize("role", [CUSTOMER, NO_GROUP, "stock clerks"])
def test_orders_for_others_and_cancelling_theirs(role: str, people: dict[str, User], rows: dict[str, Any]):
    client = client_of(role, people)
    wanted = {"productId": 1, "quantity": 1, "userId": rows["user_id"], **PAID_AND_SENT}
    assert client.post("/api/v1/orders", wanted).status_code == 400
    assert client.post(f"/api/v1/orders/{rows['order_id']}/cancel").status_code == 404
    assert Order.objects.get().status == "PENDING"


def test_a_program_orders_for_others_only_and_has_nothing_of_its_own(people: dict[str, User], rows: dict[str, Any]):
    machine = people[MACHINE]
    Order.objects.create(user_id=machine.pk, total_price=1000, payment_gateway="TOSS_PAYMENTS")
    wanted = {"productId": 1, "quantity": 1, **PAID_AND_SENT}
    assert client_of(MACHINE, people).post("/api/v1/orders", wanted).status_code == 403
    assert client_of(MACHINE, people).options("/api/v1/orders").status_code == 204
    machine.user_permissions.set(Permission.objects.filter(codename="add_order"))
    client = client_of(MACHINE, {MACHINE: User.objects.get(pk=machine.pk)})
    for its_own in ({}, {"userId": machine.pk}):
        refused = client.post("/api/v1/orders", wanted | its_own)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "userId")
    with substituting(AccountsService, LocalAccounts()):
        assert client.post("/api/v1/orders", wanted | {"userId": rows["user_id"]}).status_code == 202
    assert client.get("/api/v1/orders").status_code == 403
    assert client.get(f"/api/v1/orders/{rows['order_id']}").status_code == 403
    assert client.post("/api/v1/users/me/erasure", {"password": "x"}).status_code == 403


# --- Fields -----------------------------------------------------------------------------------------------------------
FIELDS = {
    "users?email=hana@example.com": ("phone", "accounts.view_user", "accounts.view_phone"),
    "users/{user_id}": ("phone", "accounts.view_user", "accounts.view_phone"),
    "orders": ("userEmail", "orders.view_order", "accounts.view_user"),
    "deliveries": ("address", "delivery.view_delivery", "delivery.view_address"),
    "deliveries/CJ1": ("address", "delivery.view_delivery", "delivery.view_address"),
    "notifications": ("recipient", "notifications.view_notification", "notifications.view_recipient"),
}


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_of_others_rows_takes_a_right_of_its_own(path: str, people: dict[str, User], rows: dict[str, Any]):
    field, row_right, field_right = FIELDS[path]
    clerk = people[NO_GROUP]

    def shown(*rights: str) -> Any:
        clerk.user_permissions.set(Permission.objects.filter(codename__in=[one.partition(".")[2] for one in rights]))
        client = client_of(NO_GROUP, {NO_GROUP: User.objects.get(pk=clerk.pk)})
        with substituting(AccountsService, LocalAccounts()):
            body = client.get(f"/api/v1/{path}".format(**rows)).json()
        listed = [row for row in body.get("results", [body]) if row.get("userId", row.get("id")) == rows["user_id"]]
        return listed[0][field]

    assert shown(row_right) == ""
    assert shown(row_right, field_right) not in ("", None)


def test_ones_own_fields_are_ones_own(rows: dict[str, Any]):
    hana = User.objects.get(email="hana@example.com")
    client = client_of("hana", {"hana": hana})
    assert client.get("/api/v1/users/me").json()["phone"] == PHONE
    assert client.get("/api/v1/users").json()["results"][0]["phone"] == PHONE
    assert client.get("/api/v1/deliveries").json()["results"][0]["address"] == "Seoul 1"
    assert client.get("/api/v1/notifications").json()["results"][0]["recipient"] == PHONE


@pytest.mark.parametrize("role", ["payment clerks", BOSS])
def test_nobody_sees_a_payments_token(role: str, people: dict[str, User], rows: dict[str, Any]):
    assert "tok_secret" not in client_of(role, people).get("/api/v1/payments").content.decode()
    client = Client()
    client.force_login(people[role])
    page = client.get(reverse("admin:payments_payment_change", args=[Payment.objects.get().pk]))
    assert (page.status_code, "tok_secret" in page.content.decode()) == (200, False)


def test_in_the_admin_too(people: dict[str, User], rows: dict[str, Any]):
    delivery, notification = Delivery.objects.get().pk, Notification.objects.get().pk
    pages = {
        f"/admin/accounts/user/{rows['user_id']}/change/": (PHONE, "view_user", "view_phone"),
        f"/admin/delivery/delivery/{delivery}/change/": ("Seoul 1", "view_delivery", "view_address"),
        f"/admin/notifications/notification/{notification}/change/": (
            PHONE, "view_notification", "view_recipient",
        ),
        "/admin/notifications/notification/": (PHONE, "view_notification", "view_recipient"),
    }  # fmt: skip
    client = Client()
    client.force_login(people[NO_GROUP])
    for path, (text, *rights) in pages.items():
        for given, shown in ((rights[:1], False), (rights, True)):
            people[NO_GROUP].user_permissions.set(Permission.objects.filter(codename__in=given))
            page = client.get(path)
            assert (page.status_code, text in page.content.decode()) == (200, shown), (path, given)
    people[NO_GROUP].user_permissions.set(Permission.objects.filter(codename="view_user"))
    assert client.get("/admin/accounts/user/?q=+821012345678").content.decode().count("hana@example.com") == 0


def test_events_in_the_admin_show_no_token(people: dict[str, User], bus: Any):
    from inventory.models import DeadLetter
    from orders.models import Outbox
    from orders.placing import place_order
    from shop.contracts.events import Line

    order = place_order(user_id=1, lines=[Line(1, 1)], payment_token="tok_secret", address="Seoul 1")
    DeadLetter.objects.create(step="inventory.x", payload='{"checkout": {"payment_token": "tok_secret"}}', error="x")
    client = Client()
    client.force_login(people["operators"])
    for row in (Outbox.objects.get(), DeadLetter.objects.get()):
        page = client.get(reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk]))
        text = page.content.decode()
        assert (page.status_code, "payment_token" in text, "tok_secret" in text) == (200, True, False)
    page = client.get(f"/console/orders/{order.pk}/events/{Outbox.objects.get().event_id}")
    text = page.content.decode()
    assert (page.status_code, "payment_token" in text, "tok_secret" in text) == (200, True, False)


# --- The admin --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", [role for role in ROLES if role != MACHINE])  # which has no password and no session
def test_the_admin_shows_each_role_its_own(role: str, people: dict[str, User]):
    client = Client()
    if role != STRANGER:
        client.force_login(people[role])
    for model in admin.site._registry:
        label, name = model._meta.app_label, model._meta.model_name
        status = client.get(reverse(f"admin:{label}_{name}_changelist")).status_code
        if role in (STRANGER, CUSTOMER):
            assert status == 302, model
        else:
            rights = GROUPS.get(role, ())
            may = role == BOSS or f"{label}.view_{name}" in rights or f"{label}.change_{name}" in rights
            assert status == (200 if may else 403), (model, role)


def test_nobody_makes_themselves_more_than_they_are(people: dict[str, User]):
    clerk, boss = people[NO_GROUP], people[BOSS]
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user", "view_phone"]))
    client = Client()
    client.force_login(clerk)
    form = {"email": "hana2@example.com", "name": "H", "language": "ko", "is_active": "on", "is_superuser": "on"}
    hana = User.objects.create(email="hana2@example.com", name="Hana")
    path = f"/admin/accounts/user/{hana.pk}/change/"
    form["seen"] = client.get(path).context["adminform"].form["seen"].value()
    assert client.post(path, form | {"is_staff": "on", "groups": [Group.objects.first().pk]}).status_code == 302
    hana.refresh_from_db()
    assert (hana.name, hana.is_staff, hana.is_superuser, hana.groups.count()) == ("H", False, False, 0)
    for other in (clerk, boss):
        assert client.post(f"/admin/accounts/user/{other.pk}/change/", form).status_code == 403
        password = {"password1": "correct horse 7", "password2": "correct horse 7"}
        assert client.post(f"/admin/accounts/user/{other.pk}/password/", password).status_code == 403


# --- Pages ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", ROLES)
def test_pages_with_a_right(role: str, people: dict[str, User], rows: dict[str, Any], settings: Any):
    settings.DEBUG = False
    client, rights = Client(), rights_of(role)
    if role != STRANGER:
        client.force_login(people[role])
    values = rows | {"action": "cancel"}
    for page, right in PAGES.items():
        if right == ANYBODY:
            continue
        path = path_to(page, values)
        answer = client.post(path) if right == "orders.change_order" or page == "/console/orders" else client.get(path)
        if right == "development machines only":
            assert answer.status_code == 404, page
        else:
            refused = answer.status_code == 403 or "/login/" in answer.headers.get("Location", "")
            assert refused == (right not in rights), (page, role)


def test_docs_name_every_group():
    text = (Path(__file__).parents[3] / "docs/howto/console.md").read_text()
    for name in GROUPS:
        assert f"“{name}”" in text, name

"""What a page of the admin hides from somebody they cannot ask for in its address or find by a search, either."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client, RequestFactory

from accounts.models import User
from orders.models import Order
from tests.conftest import SERVICES

pytestmark = pytest.mark.django_db(databases=SERVICES)

BY_RIGHT = {
    "accounts.user": ["phone"],
    "delivery.delivery": ["address", "label_url"],
    "notifications.notification": ["recipient", "error"],
    "notifications.suppression": ["detail"],
}
NOBODYS = {
    "notifications.webhook": ["secret", "former_secret", "former_until"],
    "payments.payment": ["token", "checkout", "action_url", "action_details", "returned_with"],
    **{f"{service}.deadletter": ["payload"] for service in SERVICES if service != "catalog"},
    **{f"{service}.outbox": ["payload"] for service in SERVICES if service not in ("catalog", "notifications")},
}
PHONE = "+821012345678"


def signed_in(*rights: str, boss: bool = False) -> tuple[Client, User]:
    user = User.objects.create(email="clerk@example.com", name="Clerk", is_staff=True, is_superuser=boss)
    for app, codename in (right.split(".") for right in rights):
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client, user


def refused(client: Client, user: User) -> dict[str, list[str]]:
    """The fields that pages hide from a user, by model: each is refused in the address of its list."""
    request = RequestFactory().get("/")
    request.user = user
    found = {model: list(page.get_exclude(request) or ()) for model, page in admin.site._registry.items()}
    for model, fields in found.items():
        for field in fields:
            path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            for lookup in (field, f"{field}__startswith", f"{field}__regex"):
                assert client.get(path, {lookup: "1"}).status_code == 400, (path, lookup)
    return {model._meta.label_lower: fields for model, fields in found.items() if fields}


def test_who_may_see_rows_asks_for_none_of_their_hidden_fields():
    rows = [model.replace(".", ".view_") for model in BY_RIGHT | NOBODYS]
    client, user = signed_in(*rows)
    assert refused(client, user) == BY_RIGHT | NOBODYS | {"accounts.user": ["phone", "orders"]}  # a link, and no column
    assert client.get("/admin/accounts/user/", {"is_staff__exact": "1"}).status_code == 200


def test_who_has_the_right_asks_for_them_but_for_what_nobody_sees():
    client, user = signed_in(boss=True)
    assert refused(client, user) == NOBODYS
    for model, fields in BY_RIGHT.items():
        for field in fields:
            assert client.get(f"/admin/{model.replace('.', '/')}/", {f"{field}__startswith": "1"}).status_code == 200


@pytest.mark.parametrize("right", ["", "accounts.view_phone"])
def test_somebody_is_found_by_phone_by_who_may_see_it(right: str):
    hana = User.objects.create(email="hana@example.com", name="Hana", phone=PHONE)
    order = Order.objects.create(user_id=hana.pk, total_price=1000, payment_gateway="TOSS_PAYMENTS")
    client, _user = signed_in("orders.view_order", "accounts.view_user", *filter(None, [right]))
    shown = {
        "/admin/accounts/user/": f"/admin/accounts/user/{hana.pk}/change/",
        "/admin/orders/order/": f"/admin/orders/order/{order.pk}/change/",
        "/console/orders": f"/console/orders/{order.pk}",
    }
    for path, link in shown.items():
        assert link in client.get(path, {"q": hana.email}).text
        assert (link in client.get(path, {"q": PHONE}).text) == bool(right), path

"""GET /deliveries, and the admin."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from delivery.models import Delivery
from delivery.tests.saga import ADDRESS, as_user, code

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "delivery"])

URL = "/api/v1/deliveries"
User = get_user_model()


def order_ids(client: APIClient, **parameters) -> list[int]:
    answer = client.get(URL, parameters)
    assert answer.status_code == 200
    assert (answer.json()["next"], answer.json()["previous"]) == (None, None)
    return [row["orderId"] for row in answer.json()["results"]]


def test_a_delivery_as_its_customer_sees_it(deliveries):
    row = as_user(8).get(f"{URL}/EP0000000003").json()
    assert row.pop("createdAt")
    assert row.pop("updatedAt")
    assert row == {
        "id": Delivery.objects.get(order_id=3).pk,
        "orderId": 3,
        "number": 1,
        "userId": 8,
        "trackingNumber": "EP0000000003",
        "carrier": "우체국택배",
        "address": ADDRESS,
        "status": "PREPARING",
        "reason": "",
        "handedOverAt": None,
        "deliveredAt": None,
    }


def test_own_ones_newest_first_and_everybodys_for_staff(deliveries):
    assert order_ids(as_user(7)) == [2, 1]
    assert order_ids(as_user(7), orderId=1) == [1]
    assert order_ids(as_user(7), orderId=3) == []
    assert order_ids(as_user(9, staff=True)) == [4, 3, 2, 1]
    assert as_user(9, staff=True).get(f"{URL}/EP0000000003").json()["orderId"] == 3


@pytest.mark.parametrize("number", ["EP0000000003", "nothing", "9" * 4000])
def test_somebody_elses_delivery_does_not_exist(deliveries, number):
    assert code(as_user(7).get(f"{URL}/{number}")) == (404, "D001")


def test_reading_takes_one_statement(deliveries):
    for url in (URL, f"{URL}/HJ0000000001"):
        with CaptureQueriesContext(connections["delivery"]) as captured:
            assert as_user(7).get(url).status_code == 200
        assert len(captured) == 1


@pytest.mark.parametrize("order_id", ["x", "-1", "9" * 4000, "1.5", str(2**63)])
def test_a_strange_order_id_is_a_problem_document(order_id):
    assert code(as_user(7).get(URL, {"orderId": order_id})) == (400, "C002")


def test_nobody_reads_without_a_token_and_nobody_writes(deliveries):
    assert code(APIClient().get(URL)) == (401, "C006")
    assert code(APIClient().get(f"{URL}/HJ0000000001")) == (401, "C006")
    assert as_user(9, staff=True).post(URL, {}).status_code == 405


# --- The admin --------------------------------------------------------------------------------------------------------
def test_the_admin_shows_and_does_not_change(client, deliveries):
    client.force_login(User.objects.create_superuser(email="admin@example.com", password="for-this-test", name="Admin"))
    page = f"/admin/delivery/delivery/{Delivery.objects.get(order_id=1).pk}/change/"
    assert ADDRESS in client.get(page).content.decode()
    client.post(page, {"address": "elsewhere"})
    assert Delivery.objects.get(order_id=1).address == ADDRESS
    assert client.get("/admin/delivery/delivery/?q=3").status_code == 200
    assert client.get("/admin/delivery/carrierevent/").status_code == 200
    assert client.get("/admin/delivery/deadletter/").status_code == 200
    assert client.get("/admin/delivery/delivery/add/").status_code == 403

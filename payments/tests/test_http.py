"""GET /payments, and the admin."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from payments.models import DeadLetter, Payment
from payments.tasks import charge_payment, refund_payment
from payments.tests.saga import cancelled, held, name, reserved, run
from sagas import dead_letters
from sagas.events import encode
from sagas.testing import Bus, publishing_to

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "payments"])

URL = "/api/v1/payments"
User = get_user_model()


@pytest.fixture
def payments():
    """Orders 1 (paid) and 2 (declined) of user 7, order 3 of user 8, and a tombstone for order 4."""
    run(charge_payment, reserved(1), reserved(2, "tok_declined"), reserved(3, gateway="KAKAO_PAY"))
    Payment.objects.filter(order_id=3).update(user_id=8)
    run(refund_payment, cancelled(4))


def as_user(user_id: int, *, staff: bool = False) -> APIClient:
    client = APIClient()
    client.force_authenticate(User(pk=user_id, is_staff=staff, is_superuser=staff))
    return client


def order_ids(client: APIClient, **parameters) -> list[int]:
    answer = client.get(URL, parameters)
    assert answer.status_code == 200
    assert (answer.json()["next"], answer.json()["previous"]) == (None, None)
    return [row["orderId"] for row in answer.json()["results"]]


def test_a_payment_as_its_customer_sees_it(payments):
    (row,) = as_user(7).get(URL, {"orderId": 2}).json()["results"]
    assert row.pop("createdAt")
    assert row.pop("updatedAt")
    assert row == {
        "id": Payment.objects.get(order_id=2).pk,
        "orderId": 2,
        "userId": 7,
        "amount": 3_500_000,
        "currency": "KRW",
        "gateway": "TOSS_PAYMENTS",
        "status": "FAILED",
        "captured": 0,
        "refunded": 0,
        "reason": "PAY002: declined",
    }


def test_own_ones_newest_first_and_everybodys_for_staff(payments):
    assert sorted(order_ids(as_user(7)), reverse=True) == order_ids(as_user(7)) == [2, 1]
    assert order_ids(as_user(8)) == [3]
    assert order_ids(as_user(8), orderId=1) == []
    assert order_ids(as_user(9, staff=True)) == [4, 3, 2, 1]
    assert order_ids(as_user(9, staff=True), orderId=3) == [3]


def test_a_page_is_one_statement(payments):
    with CaptureQueriesContext(connections["payments"]) as captured:
        as_user(7).get(URL)
    assert len(captured) == 1


@pytest.mark.parametrize("order_id", ["x", "-1", "9" * 4000, "1.5", str(2**63)])
def test_a_strange_order_id_is_a_problem_document(order_id):
    answer = as_user(7).get(URL, {"orderId": order_id})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert (answer.json()["code"], [one["field"] for one in answer.json()["errors"]]) == ("C002", ["orderId"])


def test_nobody_reads_without_a_token_and_nobody_writes(payments):
    assert APIClient().get(URL).status_code == 401
    assert as_user(9, staff=True).post(URL, {}).status_code == 405
    assert Payment.objects.count() == 4


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser(email="admin@example.com", password="for-this-test", name="Admin"))
    return client


def test_the_admin_shows_a_payment_with_what_was_asked_and_no_token(admin, payments):
    payment = Payment.objects.get(order_id=2)
    page = admin.get(f"/admin/payments/payment/{payment.pk}/change/").content.decode()
    assert "Declined" in page
    assert "the payment was declined" in page
    assert "tok_declined" not in page
    assert admin.get("/admin/payments/payment/?q=3").status_code == 200
    found = admin.get(f"/admin/payments/payment/?q={payment.idempotency_key}").content.decode()
    assert f"/admin/payments/payment/{payment.pk}/change/" in found
    assert "/change/" not in admin.get(f"/admin/payments/payment/?q={payment.idempotency_key}x").content.decode()
    assert admin.get(f"/admin/payments/gatewayledger/?q={name()}").status_code == 200
    assert admin.get("/admin/payments/payment/add/").status_code == 403
    assert admin.post(f"/admin/payments/payment/{payment.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_admin_takes_a_gateway_away(admin):
    admin.post("/admin/payments/sandboxswitch/add/", {"gateway": "KAKAO_PAY", "away": "on"})
    assert run(charge_payment, reserved(1, gateway="KAKAO_PAY")) == []
    assert held() == 0


@pytest.mark.django_db(databases=["accounts", "default", "payments"], transaction=True)
def test_the_admin_replays_a_dead_letter(admin):
    event = reserved()
    dead_letters.record(charge_payment.service, charge_payment.name, encode(event), RuntimeError("it was a bad day"))
    letter = DeadLetter.objects.get()
    with publishing_to(Bus()) as bus:
        answer = admin.post(
            "/admin/payments/deadletter/", {"action": "replay", "_selected_action": [letter.pk]}, follow=True
        )
        bus.deliver()
    assert "Sent to their steps again: 1." in answer.content.decode()
    letter.refresh_from_db()
    assert letter.resolution == "HANDLED"
    assert [step for step, _ in bus.messages] == ["orders.mark_paid"]
    assert held() == 3_500_000

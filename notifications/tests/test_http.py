"""GET /notifications, and the admin."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.admin import site
from django.contrib.auth import get_user_model
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from notifications.models import Notification

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "notifications"])

URL = "/api/v1/notifications"
User = get_user_model()


@pytest.fixture
def told():
    """One notification for each of three orders: 1 and 2 of user 1, 3 of user 2."""
    return [
        Notification.objects.create(
            event_id=UUID(int=order_id),
            order_id=order_id,
            user_id=user_id,
            type="COMPLETED",
            channel="SMS",
            recipient="010-1234-5678",
            body=f"[Shop] Your order {order_id} is complete.",
            status="SENT",
            sent_at=timezone.now(),
        )
        for order_id, user_id in ((1, 1), (2, 1), (3, 2))
    ]


def as_user(user_id: int, *, staff: bool = False) -> APIClient:
    client = APIClient()
    client.force_authenticate(User(pk=user_id, is_staff=staff, is_superuser=staff))
    return client


def order_ids(client: APIClient, **parameters) -> list[int]:
    answer = client.get(URL, parameters)
    assert answer.status_code == 200
    assert (answer.json()["next"], answer.json()["previous"]) == (None, None)
    return [row["orderId"] for row in answer.json()["results"]]


def test_a_notification_as_its_recipient_reads_it(told):
    (row,) = as_user(2).get(URL).json()["results"]

    assert row.pop("createdAt")
    assert row.pop("updatedAt")
    assert row == {
        "id": told[2].pk,
        "orderId": 3,
        "userId": 2,
        "type": "COMPLETED",
        "channel": "SMS",
        "recipient": "010-1234-5678",
        "subject": "",
        "body": "[Shop] Your order 3 is complete.",
        "status": "SENT",
    }


def test_own_ones_newest_first_and_everybodys_for_staff(told):
    assert order_ids(as_user(1)) == [2, 1]
    assert order_ids(as_user(1), orderId=1) == [1]
    assert order_ids(as_user(1), orderId=3) == []
    assert order_ids(as_user(9, staff=True)) == [3, 2, 1]
    assert order_ids(as_user(9, staff=True), orderId=3) == [3]


def test_a_page_is_one_statement(told):
    with CaptureQueriesContext(connections["notifications"]) as captured:
        as_user(1).get(URL)
    assert len(captured) == 1


@pytest.mark.parametrize("order_id", ["x", "-1", "9" * 4000, "1.5", str(2**63)])
def test_a_strange_order_id_is_a_problem_document(order_id):
    answer = as_user(1).get(URL, {"orderId": order_id})

    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert (answer.json()["code"], [one["field"] for one in answer.json()["errors"]]) == ("C002", ["orderId"])


def test_nobody_reads_without_a_token_and_nobody_writes(told):
    assert APIClient().get(URL).status_code == 401
    assert as_user(9, staff=True).post(URL, {}).status_code == 405
    assert Notification.objects.count() == 3


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser(email="admin@example.com", password="for-this-test", name="Admin"))
    return client


def test_staff_send_again_what_failed_and_nothing_else(admin, told):
    sent, failed = told[0], told[1]
    Notification.objects.filter(pk=failed.pk).update(
        status="FAILED", attempts=10, due_at=timezone.now() + timedelta(hours=1)
    )

    answer = admin.post(
        "/admin/notifications/notification/",
        {"action": "send_again", "_selected_action": [sent.pk, failed.pk]},
        follow=True,
    )

    assert "Had failed and will be sent now: 1." in answer.content.decode()
    failed.refresh_from_db()
    sent.refresh_from_db()
    assert (failed.status, failed.attempts) == ("PENDING", 0)
    assert failed.due_at <= timezone.now()
    assert sent.status == "SENT"


def test_the_admin_shows_and_does_not_change(admin, told):
    page = f"/admin/notifications/notification/{told[0].pk}/change/"

    assert "Your order 1 is complete." in admin.get(page).content.decode()
    admin.post(page, {"body": "something else"})
    told[0].refresh_from_db()
    assert told[0].body == "[Shop] Your order 1 is complete."
    assert admin.get("/admin/notifications/notification/add/").status_code == 403
    assert admin.post(page.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert admin.get("/admin/notifications/notification/?q=3").status_code == 200


def test_dead_letters_are_in_the_admin():
    assert "notifications.deadletter" in {model._meta.label_lower for model in site._registry}

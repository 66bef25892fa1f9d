"""What customers choose to be told, by API, and what becomes of what they do not want."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

from notifications import preferences
from notifications.models import Notification, OptOut
from notifications.privacy import erase, of_user
from notifications.suppressions import Stop, suppress
from notifications.tasks import notify
from notifications.tests.dialogue import KIM, LEE, order_created
from shop.calls import substituting
from shop.contracts.accounts import Contact, ContactsService
from shop.contracts.events import CustomerErased, DeliveryHandedOver, OrderCancelled

pytestmark = pytest.mark.django_db(databases=["accounts", "notifications"], transaction=True)

URL = "/api/v1/notifications/preferences"
CONTACTS = {KIM.user_id: KIM, LEE.user_id: LEE}


class Contacts:
    """Accounts, as far as it is asked here."""

    def get_contacts(self, user_ids: list[int]) -> dict[int, Contact]:
        return {user_id: CONTACTS[user_id] for user_id in user_ids if user_id in CONTACTS}


@pytest.fixture(autouse=True)
def accounts():
    with substituting(ContactsService, Contacts()):
        yield


def client_of(user_id: int) -> APIClient:
    client = APIClient()
    client.force_authenticate(get_user_model()(pk=user_id))
    return client


def wish(type_: str, channel: str, wanted: bool = False) -> dict[str, Any]:
    return {"type": type_, "channel": channel, "wanted": wanted}


def switch(*wishes: dict[str, Any], user_id: int = KIM.user_id) -> Any:
    return client_of(user_id).patch(URL, {"preferences": list(wishes)}, format="json")


def off(answer: Any) -> set[tuple[str, str]]:
    return {(one["type"], one["channel"]) for one in answer.json()["preferences"] if not one["wanted"]}


def test_everything_is_wanted_at_first_and_what_is_always_sent_says_so():
    answer = client_of(KIM.user_id).get(URL)
    assert (answer.status_code, off(answer), answer.json()["stopped"]) == (200, set(), [])
    found = answer.json()["preferences"]
    assert len(found) == len(Notification.Type) * len(Notification.Channel)
    assert {(one["type"], one["channel"]) for one in found if one["always"]} == {
        ("ORDER_RECEIVED", "EMAIL"),
        ("PAYMENT_DUE", "EMAIL"),
        ("ORDER_CHANGED", "EMAIL"),
        ("ADDRESS_CHANGED", "EMAIL"),
        ("CHANGE_REFUSED", "EMAIL"),
        ("CANCELLED", "EMAIL"),
        ("DELIVERY_FAILED", "EMAIL"),
        ("SHIPMENT_FAILED", "EMAIL"),
        ("RETURN_APPROVED", "EMAIL"),
        ("RETURN_REFUNDED", "EMAIL"),
        ("RETURN_REFUSED", "EMAIL"),
    }


def test_what_is_switched_off_is_not_sent_to_them_until_it_is_switched_on():
    answer = switch(wish("SHIPPED", "SMS"), wish("COMPLETED", "EMAIL"), wish("SHIPPED", "SMS"))
    assert (answer.status_code, off(answer)) == (200, {("SHIPPED", "SMS"), ("COMPLETED", "EMAIL")})
    assert off(client_of(LEE.user_id).get(URL)) == set()

    for order_id in (1, 2):
        notify([DeliveryHandedOver(order_id=order_id, user_id=KIM.user_id, tracking_number="CJ1")], CONTACTS)
        assert off(switch(wish("SHIPPED", "SMS", True))) == {("COMPLETED", "EMAIL")}
    told = Notification.objects.order_by("order_id", "channel").values_list("channel", "status", "error")
    assert list(told) == [
        ("EMAIL", "PENDING", ""),
        ("SMS", "SUPPRESSED", "The customer does not want to be told this by this channel."),
        ("EMAIL", "PENDING", ""),
        ("SMS", "PENDING", ""),
    ]


def test_of_two_wishes_about_the_same_the_last_one_counts():
    assert off(switch(wish("SHIPPED", "SMS"), wish("SHIPPED", "SMS", True))) == set()
    assert off(switch(wish("SHIPPED", "SMS", True), wish("SHIPPED", "SMS"))) == {("SHIPPED", "SMS")}
    assert off(switch(wish("SHIPPED", "SMS"))) == {("SHIPPED", "SMS")}


def test_what_has_to_be_sent_cannot_be_switched_off_and_nothing_else_is_then():
    answer = switch(wish("SHIPPED", "SMS"), wish("CANCELLED", "EMAIL"))
    assert (answer.status_code, answer.json()["errors"]) == (
        400,
        [{"field": "preferences[1].wanted", "value": False, "reason": preferences.HAS_TO}],
    )
    assert not OptOut.objects.exists()
    assert switch(wish("CANCELLED", "EMAIL", True), wish("CANCELLED", "SMS")).status_code == 200
    notify([OrderCancelled(order_id=1, user_id=KIM.user_id, reason="x")], CONTACTS)
    assert dict(Notification.objects.values_list("channel", "status")) == {"EMAIL": "PENDING", "SMS": "SUPPRESSED"}


@pytest.mark.parametrize(
    "body",
    [{"preferences": [wish("SHIPPED", "FAX")]}, {"preferences": [wish("VERIFY", "EMAIL")]},
     {"preferences": [{"type": "SHIPPED"}]}, {"preferences": [wish("SHIPPED", "SMS")] * 51}],
)  # fmt: skip
def test_what_is_no_wish_is_refused(body: dict[str, Any]):
    answer = client_of(KIM.user_id).patch(URL, body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "C002")


@pytest.mark.parametrize("body", [{}, {"preferences": []}])
def test_no_wish_changes_nothing(body: dict[str, Any]):
    switch(wish("SHIPPED", "SMS"))
    answer = client_of(KIM.user_id).patch(URL, body, format="json")
    assert (answer.status_code, off(answer)) == (200, {("SHIPPED", "SMS")})


def test_who_is_not_reached_any_more_sees_why():
    suppress([Stop(KIM.email.upper(), "BOUNCED", "no such mailbox")])
    before = timezone.now()
    (stopped,) = client_of(KIM.user_id).get(URL).json()["stopped"]
    assert (stopped["channel"], stopped["reason"]) == ("EMAIL", "BOUNCED")
    assert stopped["since"] < before.isoformat()
    assert client_of(LEE.user_id).get(URL).json()["stopped"] == []


def test_strangers_have_no_preferences():
    assert APIClient().get(URL).status_code == 401
    assert switch(wish("SHIPPED", "SMS"), user_id=99).json()["stopped"] == []


def test_it_is_in_the_archive_and_goes_with_the_customer():
    switch(wish("SHIPPED", "SMS"))
    switch(wish("SHIPPED", "SMS"), user_id=LEE.user_id)
    notify([order_created(1, user=KIM)], CONTACTS)
    Notification.objects.update(status="SENT", sent_at=timezone.now())
    suppress([Stop(KIM.email, "COMPLAINED", ""), Stop(LEE.email, "BOUNCED", "")])
    kept = of_user(KIM.user_id)
    assert [row["type"] for row in kept["opt_outs"]] == ["SHIPPED"]
    assert [row["reason"] for row in kept["suppressions"]] == ["COMPLAINED"]

    with transaction.atomic(using="notifications"):
        erase([CustomerErased(user_id=KIM.user_id, order_ids=(1,))])
    assert of_user(KIM.user_id) == {"opt_outs": [], "suppressions": []}
    assert [row.user_id for row in OptOut.objects.all()] == [LEE.user_id]
    assert preferences.stopped(KIM.user_id) == []
    assert [one.reason for one in preferences.stopped(LEE.user_id)] == ["BOUNCED"]

"""E-mail through a service by django-anymail, with Postmark's stand-in.

What comes back, or is complained of, is the last e-mail that is sent to its address.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings as configured
from django.test import Client
from prometheus_client import REGISTRY

from lab.providers import postmark as stand_in
from lab.providers.server import FAIL_BEFORE
from notifications.letters import send_due as send_letters
from notifications.mail_events import FOR_GOOD
from notifications.models import Notification, StaffAction, Suppression
from notifications.services import send_due
from notifications.suppressions import Stop, address_hash, suppress
from sagas import Unavailable
from shop.calls import substituting
from shop.contracts.accounts import ContactsService, Letter
from shop.contracts.messengers import EMAIL_SERVICES

pytestmark = pytest.mark.django_db(databases=["accounts", "notifications"], transaction=True)

EMAIL, OTHER = "kim@example.com", "lee@example.com"
EVENTS = "/api/v1/notifications/email-events"


@pytest.fixture
def provider(settings: Any) -> Iterator[stand_in.Postmark]:
    with stand_in.Postmark() as serving:
        settings.EMAIL_SERVICE, settings.EMAIL_BACKEND = "postmark", "anymail.backends.postmark.EmailBackend"
        settings.ANYMAIL = {
            "POSTMARK_SERVER_TOKEN": stand_in.SERVER_TOKEN,
            "POSTMARK_API_URL": serving.url,
            "WEBHOOK_SECRET": stand_in.WEBHOOK_SECRET,
        }
        yield serving


def due(recipient: str = EMAIL, number: int = 1, **fields: Any) -> Notification:
    given = {"order_id": number, "user_id": 7, "type": "SHIPPED", "channel": "EMAIL", "subject": "주문", "body": "안녕"}
    return Notification.objects.create(event_id=UUID(int=number), recipient=recipient, **given | fields)


def hear(provider: stand_in.Postmark, **headers: str) -> int:
    """The webhook's answer to the latest that the service has told."""
    given, body = provider.notifications[-1]
    authorization = headers.get("authorization", given["Authorization"])
    answer = Client(raise_request_exception=False).post(
        EVENTS, body, content_type="application/json", headers={"Authorization": authorization}
    )
    return answer.status_code


def withheld(reason: str) -> float:
    labels = {"channel": "EMAIL", "reason": reason}
    return REGISTRY.get_sample_value("shop_messages_withheld_total", labels) or 0.0


def test_an_e_mail_goes_out_with_its_reference(provider: stand_in.Postmark):
    due()
    assert send_due() == 1
    (sent,) = provider.sent
    assert (sent["To"], sent["Subject"], sent["TextBody"], sent["From"]) == (
        EMAIL, "주문", "안녕", configured.DEFAULT_FROM_EMAIL
    )  # fmt: skip
    assert {"Name": "Message-ID", "Value": f"<{UUID(int=1)}.email@example.com>"} in sent["Headers"]
    assert Notification.objects.get().status == "SENT"


def test_what_comes_back_for_good_is_the_last_that_is_sent_there(provider: stand_in.Postmark):
    due(), due(OTHER, 2)
    send_due()
    provider.bounce(EMAIL)
    assert (hear(provider), hear(provider)) == (202, 202)  # told twice

    (row,) = Suppression.objects.all()
    assert (row.channel, row.reason, row.user_id, row.address_hash) == ("EMAIL", "BOUNCED", 7, address_hash(EMAIL))
    assert row.detail.endswith("The mailbox … does not exist")
    before = withheld("BOUNCED")
    due(EMAIL, 3), due(OTHER, 4)
    assert send_due() == 2
    assert [one["To"] for one in provider.sent].count(EMAIL) == 1
    stopped = Notification.objects.get(event_id=UUID(int=3))
    assert (stopped.status, stopped.error) == ("SUPPRESSED", "E-mails to this address come back.")
    assert withheld("BOUNCED") == before + 1


def test_who_complains_is_written_to_no_more_however_the_address_is_written(provider: stand_in.Postmark):
    due()
    send_due()
    provider.complain(EMAIL)
    provider.notifications[-1] = provider.notifications[-1][0], provider.notifications[-1][1].replace(b"kim@", b"Kim@")
    assert hear(provider) == 202
    due(number=2)
    send_due()
    assert Notification.objects.get(event_id=UUID(int=2)).error.startswith("Who reads this address has reported")


@pytest.mark.parametrize("kind", ["SoftBounce", "Transient", "AutoResponder", "Blocked"])
def test_what_may_still_arrive_stops_nothing(provider: stand_in.Postmark, kind: str):
    provider.bounce(EMAIL, kind)
    assert (hear(provider), Suppression.objects.exists()) == (202, False)


def test_letters_about_accounts_are_stopped_too_and_not_given_out_again(provider: stand_in.Postmark):
    suppress([Stop(EMAIL, "BOUNCED", "")])

    class Accounts:
        sent: list[UUID] = []
        letters = [Letter(id=uuid4(), kind="VERIFY", email=to, language="en", token="t") for to in (EMAIL, OTHER)]

        def claim_letters(self) -> list[Letter]:
            return self.letters

        def mark_letters_sent(self, letter_ids: list[UUID]) -> None:
            self.sent += letter_ids

    with substituting(ContactsService, Accounts()):
        assert send_letters() == 2
    assert [one["To"] for one in provider.sent] == [OTHER]
    assert Accounts.sent == [one.id for one in Accounts.letters]


# --- Who may report ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("authorization", ["", "Basic cG9zdG1hcms6eA==", "Bearer x"])
def test_nobody_else_reports(provider: stand_in.Postmark, authorization: str):
    provider.bounce(EMAIL)
    assert hear(provider, authorization=authorization) == 401
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"RecordType": "Inbound"}', b"\xff", b'{"RecordType": []}'])
def test_what_cannot_be_read_is_refused(provider: stand_in.Postmark, body: bytes):
    provider.notifications.append((stand_in.sign(body), body))
    assert hear(provider) == 401


@pytest.mark.parametrize("missing", ["WEBHOOK_SECRET", "service"])
def test_without_a_secret_or_a_service_everything_is_refused(provider: stand_in.Postmark, settings: Any, missing: str):
    settings.ANYMAIL = {name: value for name, value in settings.ANYMAIL.items() if name != missing}
    if missing == "service":
        settings.EMAIL_SERVICE, settings.ANYMAIL = "", {}
    provider.bounce(EMAIL)
    assert hear(provider) == 401


# Of each service an e-mail that came back for good, and one that did not.
REPORTS: dict[str, tuple[Any, Any]] = {
    "brevo": ({"event": "hard_bounce", "email": EMAIL}, {"event": "soft_bounce", "email": EMAIL}),
    "mailgun": (
        {"event-data": {"event": "failed", "severity": "permanent", "reason": "bounce", "recipient": EMAIL}},
        {"event-data": {"event": "failed", "severity": "temporary", "reason": "bounce", "recipient": EMAIL}},
    ),
    "postmark": (
        {"RecordType": "Bounce", "Type": "HardBounce", "Email": EMAIL},
        {"RecordType": "Bounce", "Type": "SoftBounce", "Email": EMAIL},
    ),
    "resend": (
        {"type": "email.bounced", "data": {"to": [EMAIL], "bounce": {"type": "Permanent", "message": "bounce"}}},
        {"type": "email.bounced", "data": {"to": [EMAIL], "bounce": {"type": "Transient", "message": "bounce"}}},
    ),
}  # fmt: skip


def test_every_service_is_here():
    assert REPORTS.keys() == EMAIL_SERVICES.keys() == FOR_GOOD.keys()


@pytest.mark.parametrize("service", REPORTS)
def test_each_service_says_in_its_own_words_what_is_for_good(settings: Any, service: str):
    settings.EMAIL_SERVICE = service
    key = {f"{service}_{EMAIL_SERVICES[service].key}".upper(): "key", "MAILGUN_WEBHOOK_SIGNING_KEY": "key"}
    settings.ANYMAIL = {"WEBHOOK_SECRET": stand_in.WEBHOOK_SECRET, **key}
    found = []
    for report in reversed(REPORTS[service]):
        signature = mailgun_signature() if service == "mailgun" else {}
        answer = Client().post(
            EVENTS, json.dumps(report | signature if signature else report), content_type="application/json",
            headers=stand_in.sign(b""),
        )  # fmt: skip
        assert answer.status_code == 202, answer.content
        found.append(list(Suppression.objects.values_list("reason", "address_hash")))
    assert found == [[], [("BOUNCED", address_hash(EMAIL))]]


def mailgun_signature() -> dict[str, Any]:
    import hashlib
    import hmac

    given = {"timestamp": "1529006854", "token": "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0"}
    signed = hmac.new(b"key", (given["timestamp"] + given["token"]).encode(), hashlib.sha256).hexdigest()
    return {"signature": given | {"signature": signed}}


# --- The service is away, or refuses one ------------------------------------------------------------------------------
def test_a_service_that_is_away_is_asked_again_later(provider: stand_in.Postmark):
    due(), due(OTHER, 2)
    provider.faults.plan("send", FAIL_BEFORE)
    with pytest.raises(Unavailable, match="No mail server"):
        send_due()
    assert set(Notification.objects.values_list("status", "attempts")) == {("PENDING", 1)}
    assert provider.sent == []


def test_a_wrong_key_concerns_all_of_them_and_a_refused_address_itself(provider: stand_in.Postmark, settings: Any):
    due(), due(OTHER, 2)
    provider.books.put("inactive", EMAIL, True)
    assert send_due() == 2
    assert dict(Notification.objects.values_list("recipient", "status")) == {EMAIL: "PENDING", OTHER: "SENT"}
    assert EMAIL not in Notification.objects.get(recipient=EMAIL).error
    Notification.objects.update(status="PENDING", due_at=Notification.objects.get(recipient=OTHER).created_at)
    settings.ANYMAIL = settings.ANYMAIL | {"POSTMARK_SERVER_TOKEN": "another"}
    with pytest.raises(Unavailable):
        send_due()


# --- Staff ------------------------------------------------------------------------------------------------------------
def test_staff_find_a_suppression_by_address_and_lift_it(admin_client: Client):
    suppress([Stop(EMAIL, "BOUNCED", "no such user"), Stop(OTHER, "COMPLAINED", "")])
    page = "/admin/notifications/suppression/"
    kim, lee = (Suppression.objects.get(address_hash=address_hash(one)) for one in (EMAIL, OTHER))
    found = admin_client.get(page, {"q": "Kim@Example.com"}).content.decode()
    assert (f"/{kim.pk}/change/" in found, f"/{lee.pk}/change/" in found) == (True, False)
    answer = admin_client.post(page, {"action": "lift", "_selected_action": [kim.pk]}, follow=True)
    assert "Addresses that are sent to again: 1." in answer.content.decode()
    assert list(Suppression.objects.all()) == [lee]
    assert list(StaffAction.objects.values_list("action", "target")) == [("lift", f"suppression {kim.pk}")]

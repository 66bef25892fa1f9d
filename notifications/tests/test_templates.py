"""Templates: the owner's own words in place of ours, from the form in the admin to what is sent."""

from html import unescape
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.translation import override

from notifications.letters import compose as compose_letter
from notifications.models import MessageTemplate, Notification, StaffAction
from notifications.tasks import notify
from notifications.templates import Draft, check, compose, default, drafts_in_use, example, fill, placeholders
from notifications.tests.dialogue import KIM, LEE, order_created
from notifications.tests.test_letters import letter
from notifications.texts import LETTERS_ABOUT_ACCOUNTS
from shop.contracts.events import OrderCancelled

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "notifications"])

PAGE = "/admin/notifications/messagetemplate/"
ELSEWHERE = "{link} has a space before it, and no other web address belongs into this e-mail."
KINDS = [(kind, channel) for kind in MessageTemplate.Kind.values for channel in ("EMAIL", "SMS")
         if channel == "EMAIL" or kind not in LETTERS_ABOUT_ACCOUNTS]  # fmt: skip


def template(kind: str = "ORDER_RECEIVED", channel: str = "EMAIL", language: str = "ko", **fields: Any) -> None:
    given = {"subject": "주문 {order}" if channel == "EMAIL" else "", "body": "{name}님께", "in_use": True}
    MessageTemplate.objects.create(kind=kind, channel=channel, language=language, **given | fields)


def told() -> dict[tuple[int, str], str]:
    return {(row.user_id, row.channel): f"{row.subject}|{row.body}" for row in Notification.objects.all()}


# --- Sending ----------------------------------------------------------------------------------------------------------
def test_what_is_in_use_takes_the_place_of_our_text_and_nothing_else_does():
    template()
    template(channel="SMS", body="주문 {order} 접수")
    template(language="en", in_use=False)
    template("SHIPPED")
    notify([order_created(7, user=KIM), order_created(8, user=LEE)], {KIM.user_id: KIM, LEE.user_id: LEE})
    found = told()
    assert found[KIM.user_id, "EMAIL"] == "주문 7|김하나님께"
    assert found[KIM.user_id, "SMS"] == "|주문 7 접수"
    assert found[LEE.user_id, "EMAIL"].startswith("[Shop] We have received order 8|Hello Lee Sun,")


def test_a_batch_of_any_size_reads_them_once():
    def statements(count: int, first: int) -> int:
        with CaptureQueriesContext(connections["notifications"]) as queries:
            notify([order_created(first + number, user=KIM) for number in range(count)], {KIM.user_id: KIM})
        assert len([one for one in queries if "messagetemplate" in one["sql"]]) == 1
        return len(queries)

    assert statements(1, 1) == statements(50, 100)


def test_letters_about_accounts_have_templates_too(settings: Any):
    template("VERIFY", language="en", subject="Is this you?", body="Then follow {link}.")
    subject, body = compose_letter(letter("VERIFY", "en"), drafts_in_use())
    assert (subject, body[:45]) == ("Is this you?", f"Then follow {settings.PUBLIC_URL}/account/ver"[:45])
    assert compose_letter(letter("VERIFY", "ko"), drafts_in_use())[0] == LETTERS_ABOUT_ACCOUNTS["VERIFY"]["ko"][0]


def test_what_is_filled_in_is_not_read_for_placeholders_and_reaches_nothing():
    drafts = {("CANCELLED", "EMAIL", "en"): Draft("{order.__class__} {order}", "{name} {reason} {order!r} {settings}")}
    text = compose("CANCELLED", language="en", name="{order}", order=7, reason="carrier: {name}", drafts=drafts)
    assert (text.subject, text.body) == ("{order.__class__} 7", "{order} {name} {order!r} {settings}")


def test_a_subject_is_never_longer_than_its_column():
    template(subject="{tracking}" * 12)
    drafts = {("SHIPPED", "EMAIL", "en"): Draft("{tracking}" * 12, "x")}
    assert len(compose("SHIPPED", language="en", name="", order=1, tracking="9" * 40, drafts=drafts).subject) == 200


@pytest.mark.parametrize(("kind", "channel"), KINDS)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_our_own_texts_are_good_templates_and_say_the_same(kind: str, channel: str, language: str):
    draft = default(kind, channel, language)
    check(kind, channel, draft)
    shown = example(kind, channel, language, draft)
    assert "{" not in shown.subject + shown.body
    facts = {name: f"<{name}>" for name in placeholders(kind, channel)}
    assert all(f"<{name}>" in fill(draft.subject + draft.body, facts) for name in ("link", "order") if name in facts)


def test_reasons_are_told_as_without_a_template():
    template("CANCELLED", "SMS", body="취소: {reason}")
    notify([OrderCancelled(order_id=1, user_id=KIM.user_id, reason="PAY002: card declined")], {KIM.user_id: KIM})
    assert told()[KIM.user_id, "SMS"] == "|취소: 결제가 거절되었습니다."


# --- The form ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "channel", "subject", "body", "sentence"),
    [
        (
            "SHIPPED",
            "EMAIL",
            "x",
            "{nmae}",
            "{nmae} cannot be filled in here; what can is {order}, {name}, {tracking}.",
        ),
        ("SHIPPED", "EMAIL", "{name}", "x", "{name} cannot be filled in here; what can is {order}, {tracking}."),
        ("COMPLETED", "EMAIL", "x", "{tracking}", "{tracking} cannot be filled in here; what can is {order}, {name}."),
        ("COMPLETED", "EMAIL", "x", "{order.pk}", "{ cannot be filled in here; what can is {order}, {name}."),
        ("COMPLETED", "EMAIL", "x", "{order", "{ cannot be filled in here; what can is {order}, {name}."),
        ("COMPLETED", "EMAIL", "x", "{}", "{} cannot be filled in here; what can is {order}, {name}."),
        ("COMPLETED", "SMS", "", "{name}", "{name} cannot be filled in here; what can is {order}."),
        ("COMPLETED", "SMS", "", "🎉", "An SMS cannot have 🎉 in it."),
        ("COMPLETED", "SMS", "", "가" * 1001, "An SMS has 2000 bytes at most, this one has 2002."),
        ("COMPLETED", "EMAIL", "", "x", "An e-mail has a subject."),
        ("VERIFY", "EMAIL", "x", "Hello", "Without {link} nobody can do what this e-mail is for."),
        *(
            ("RESET", "EMAIL", "x", body, ELSEWHERE)
            for body in (
                "https://elsewhere.example/?{link}",
                "elsewhere.example/?{link}",
                "To WWW.elsewhere.example rather than {link}",
            )
        ),
        ("VERIFY", "EMAIL", "{link}", "{link}", "{link} cannot be filled in here; what can is –."),
    ],
)
def test_what_could_not_be_sent_as_it_is_meant_is_refused_with_a_sentence(
    kind: str, channel: str, subject: str, body: str, sentence: str
):
    with override("en"), pytest.raises(ValidationError) as refused:
        check(kind, channel, Draft(subject, body))
    assert sentence in refused.value.messages


def test_staff_begin_with_our_text_look_at_it_and_put_it_to_use(admin_client: Client):
    added = admin_client.post(f"{PAGE}add/", {"kind": "SHIPPED", "channel": "EMAIL", "language": "en"}, follow=True)
    (row,) = MessageTemplate.objects.all()
    assert (row.subject, row.body) == default("SHIPPED", "EMAIL", "en")
    assert not row.in_use
    shown = unescape(added.content.decode())
    assert "{order}, {name}, {tracking}" in shown
    assert "Hello Hana Kim,\n\nYour payment went through and your order 1042 is on its way." in shown

    page = f"{PAGE}{row.pk}/change/"
    refused = admin_client.post(page, {"subject": "Off it goes", "body": "{nobody}", "in_use": "on"})
    assert "{nobody} cannot be filled in here" in unescape(refused.content.decode())
    admin_client.post(page, {"subject": "Off it goes", "body": "<b>{name}</b>", "in_use": "on", "_continue": "1"})
    row.refresh_from_db()
    assert (row.subject, row.body, row.in_use) == ("Off it goes", "<b>{name}</b>", True)
    assert "&lt;b&gt;Hana Kim&lt;/b&gt;" in admin_client.get(page).content.decode()
    log = StaffAction.objects.order_by("pk").values_list("action", "after")
    assert list(log)[-1] == ("change", {"subject": "Off it goes", "body": "<b>{name}</b>", "in_use": True})


def test_there_is_one_of_each_and_no_sms_about_an_account(admin_client: Client):
    template("SHIPPED", language="en")
    for kind, channel, said in (("SHIPPED", "EMAIL", "already exists"), ("RESET", "SMS", "by e-mail only")):
        answer = admin_client.post(f"{PAGE}add/", {"kind": kind, "channel": channel, "language": "en"})
        assert said in answer.content.decode()
    assert MessageTemplate.objects.count() == 1


def test_an_sms_has_no_subject_and_an_e_mail_needs_one(admin_client: Client):
    template("SHIPPED", "SMS", body="x")
    sms = MessageTemplate.objects.get()
    assert 'name="subject"' not in admin_client.get(f"{PAGE}{sms.pk}/change/").content.decode()
    admin_client.post(f"{PAGE}{sms.pk}/change/", {"body": "주문 {order}"})
    sms.refresh_from_db()
    assert (sms.subject, sms.body, sms.in_use) == ("", "주문 {order}", False)

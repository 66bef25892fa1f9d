"""From events to notifications: who is told what, in which language, by which channel."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from notifications.kinds import News
from notifications.models import Inbox, Notification
from notifications.services import SETTLES, send_due
from notifications.tasks import look_up_contacts, notify
from notifications.tests.dialogue import KIM, LEE, order_created
from notifications.texts import LETTERS, REASONS, TEXTS
from sagas.registry import STEPS
from shop.contracts.events import (
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    OrderCancelled,
    OrderCompleted,
    PaymentActionRequired,
    PaymentRefundCompleted,
)
from shop.contracts.reasons import said_by_carrier

pytestmark = pytest.mark.django_db(databases=["accounts", "notifications"])

CONTACTS = {KIM.user_id: KIM, LEE.user_id: LEE}


def written() -> list[Notification]:
    return list(Notification.objects.order_by("order_id", "channel"))


def test_a_customer_with_a_phone_is_told_by_both_channels_in_korean():
    event = order_created(7, user=KIM)

    notify([event], CONTACTS)

    email, sms = written()
    assert (email.type, email.channel, email.recipient) == ("ORDER_RECEIVED", "EMAIL", "kim@example.com")
    assert email.subject == "[Shop] 주문 7번이 접수되었습니다"
    assert email.body == (
        "김하나님, 안녕하세요.\n\n주문 7번을 잘 받았습니다. 상품이 출발하면 다시 알려 드리겠습니다."
        "\n\n감사합니다.\nShop 드림\n"
    )
    assert (sms.type, sms.channel, sms.recipient) == ("ORDER_RECEIVED", "SMS", "010-1234-5678")
    assert (sms.subject, sms.body) == ("", "[Shop] 주문 7번이 접수되었습니다.")
    for row in (email, sms):
        assert (row.event_id, row.order_id, row.user_id) == (event.event_id, 7, KIM.user_id)
        assert (row.status, row.attempts, row.sent_at, row.error) == ("PENDING", 0, None, "")
        assert row.due_at == row.created_at


@pytest.mark.parametrize(
    ("phone", "status"),
    [
        ("010-1234-5678", "PENDING"),
        ("+821012345678", "PENDING"),
        ("+12025550123", "SUPPRESSED"),
        ("+88213300000", "SUPPRESSED"),  # of a satellite: no country's
        ("no number", "SUPPRESSED"),
    ],
)
def test_sms_go_to_numbers_of_the_shop_s_country_only(phone: str, status: str):
    abroad = msgspec.structs.replace(KIM, phone=phone)
    notify([order_created(7, user=KIM)], {KIM.user_id: abroad})
    email, sms = written()
    assert (email.status, sms.status) == ("PENDING", status)
    assert sms.error == ("" if status == "PENDING" else "SMS go to numbers of KR only.")


def test_without_a_phone_there_is_an_email_only_here_in_english():
    notify([DeliveryHandedOver(order_id=8, user_id=LEE.user_id, tracking_number="6012345")], CONTACTS)

    (email,) = written()
    assert (email.type, email.channel, email.recipient) == ("SHIPPED", "EMAIL", "lee@example.com")
    assert email.subject == "[Shop] Order 8 is on its way"
    assert email.body == (
        "Hello Lee Sun,\n\nYour payment went through and your order 8 is on its way. Its tracking number is 6012345."
        "\n\nThank you,\nShop\n"
    )


UNTIL = datetime(2026, 12, 24, 0, 30, tzinfo=UTC)


def payment_due(user: int = KIM.user_id, **account: Any) -> PaymentActionRequired:
    return PaymentActionRequired(
        order_id=9, user_id=user, url="https://pay.example/9", until=UNTIL, amount=35_000, currency="KRW", **account
    )


def test_a_customer_is_told_where_to_pay_and_by_when(settings):
    settings.TIME_ZONE = "Asia/Seoul"
    notify([payment_due(LEE.user_id)], CONTACTS)
    (email,) = written()
    assert (email.type, email.subject) == ("PAYMENT_DUE", "[Shop] Order 9 waits for your payment")
    assert "pay ₩35,000 for your order 9 by 2026-12-24 09:30:00 KST" in email.body
    assert "Pay here: https://pay.example/9" in email.body


def test_a_customer_is_told_of_the_account_for_a_transfer_and_an_sms_does_not_name_its_holder():
    notify([payment_due(bank="국민은행", account="110-123-456789", holder="김하나")], CONTACTS)
    email, sms = written()
    for said in ("35,000원을", "은행: 국민은행", "계좌번호: 110-123-456789", "예금주: 김하나", "https://pay.example/9"):
        assert said in email.body
    assert "국민은행 110-123-456789" in sms.body
    assert "35,000원" in sms.body
    assert "김하나" not in sms.body


def test_what_settles_a_payment_is_heard():
    assert set(SETTLES) <= {event.__name__ for event in STEPS["notifications.notify"].hears}


@pytest.mark.parametrize("event_type", ["PaymentCompleted", "PaymentAuthorized", "OrderCancelled", "OrderCreated"])
def test_nobody_is_asked_for_a_payment_that_was_made_in_the_meantime(event_type: str, mailoutbox):
    notify([payment_due(LEE.user_id)], CONTACTS)
    Inbox.objects.create(event_id=uuid4(), step="notifications.notify", event_type=event_type, correlation_id=9)
    send_due()
    (email,) = written()
    if event_type == "OrderCreated":
        assert (email.status, len(mailoutbox)) == ("SENT", 1)
    else:
        assert (email.status, len(mailoutbox)) == ("SUPPRESSED", 0)
        assert email.error == "It was paid, or the order had ended, before this was sent."


@pytest.mark.parametrize(
    ("event", "type_", "korean", "english"),
    [
        (
            lambda user: PaymentRefundCompleted(
                order_id=9, user_id=user, refund_id=uuid4(), amount=10_000, currency="KRW"
            ),
            "REFUNDED",
            "[Shop] 주문 9번의 10,000원이 환불되었습니다",
            "[Shop] ₩10,000 of order 9 has been refunded",
        ),
        (
            lambda user: DeliveryCompleted(order_id=9, user_id=user, tracking_number="6012345"),
            "DELIVERED",
            "[Shop] 주문 9번이 배송 완료되었습니다",
            "[Shop] Order 9 has been delivered",
        ),
        (
            lambda user: OrderCompleted(order_id=9, user_id=user),
            "COMPLETED",
            "[Shop] 주문 9번이 완료되었습니다",
            "[Shop] Order 9 is complete",
        ),
        (
            lambda user: OrderCancelled(order_id=9, user_id=user, reason="out of stock"),
            "CANCELLED",
            "[Shop] 주문 9번이 취소되었습니다",
            "[Shop] Order 9 has been cancelled",
        ),
        (
            lambda user: DeliveryFailed(order_id=9, user_id=user, reason="refused"),
            "DELIVERY_FAILED",
            "[Shop] 주문 9번을 배송하지 못했습니다",
            "[Shop] Order 9 could not be delivered",
        ),
    ],
)
def test_every_kind_of_news_in_both_languages(event, type_, korean, english):
    notify([event(KIM.user_id)], CONTACTS)
    notify([event(LEE.user_id)], CONTACTS)

    emails = Notification.objects.filter(channel="EMAIL").order_by("user_id")
    assert [(row.type, row.subject) for row in emails] == [(type_, korean), (type_, english)]


@pytest.mark.parametrize(
    ("reason", "korean", "english"),
    [
        ("I002: insufficient stock of product 4", "재고가 부족합니다.", "there is not enough in stock."),
        ("PAY002: card declined", "결제가 거절되었습니다.", "your payment was declined."),
        ("refused by the recipient (수령 거부)", "수령이 거부되었습니다.", "the parcel was refused at the door."),
        ("cancelled by the shop's staff", "판매자가 주문을 취소하였습니다.", "we had to cancel it."),
        ("a {strange} one", "a {strange} one", "a {strange} one"),
    ],
)
def test_reasons_are_told_in_the_customers_words(reason, korean, english):
    notify([OrderCancelled(order_id=9, user_id=user, reason=reason) for user in (KIM.user_id, LEE.user_id)], CONTACTS)

    assert Notification.objects.get(user_id=KIM.user_id, channel="SMS").body == (
        f"[Shop] 주문 9번이 취소되었습니다. 사유: {korean}"
    )
    assert f"\nReason: {english}\n" in Notification.objects.get(user_id=LEE.user_id).body


@pytest.mark.parametrize("words", ["PAY002 상자 젖음", "I001", "cancelled by the customer", "carrier: wet"])
@pytest.mark.parametrize("customer", [KIM, LEE])
def test_a_carriers_words_are_told_as_they_are(customer, words):
    reason = said_by_carrier(words)
    news: list[Any] = [
        DeliveryFailed(order_id=1, user_id=customer.user_id, reason=reason),
        OrderCancelled(order_id=1, user_id=customer.user_id, reason=reason),
    ]

    notify(news, CONTACTS)

    letters = Notification.objects.filter(channel="EMAIL")
    assert len(letters) == len(news)
    for letter in letters:
        assert letter.body.split("\n")[3].endswith(f": {words}")


def delivered_and_complete(order_id: int) -> tuple[DeliveryCompleted, OrderCompleted]:
    delivered = DeliveryCompleted(order_id=order_id, user_id=KIM.user_id, tracking_number=f"CJ{order_id}")
    complete = OrderCompleted(
        order_id=order_id, user_id=KIM.user_id, tracking_number=f"CJ{order_id}", caused_by=delivered.event_id
    )
    return delivered, complete


def told_in_order(*batches: list[Any]) -> list[tuple[str, str]]:
    for batch in batches:
        notify(batch, CONTACTS)
    rows = Notification.objects.filter(channel="EMAIL").order_by("pk")
    assert Notification.objects.filter(channel="SMS").count() == len(rows)
    return [(row.type, row.body) for row in rows]


def test_an_order_is_not_complete_before_it_has_been_delivered():
    delivered, complete = delivered_and_complete(7)
    right = told_in_order([delivered], [complete])
    assert [type_ for type_, _ in right] == ["DELIVERED", "COMPLETED"]
    for batches in ([[complete], [delivered]], [[complete, delivered]], [[complete], [complete], [delivered]]):
        Notification.objects.all().delete()
        assert told_in_order(*batches) == right


def test_what_comes_together_is_told_in_the_order_of_the_saga():
    delivered, complete = delivered_and_complete(7)
    started = DeliveryHandedOver(order_id=7, user_id=KIM.user_id, tracking_number="CJ7")
    told = told_in_order([complete, delivered, started, order_created(7, user=KIM)])
    assert [type_ for type_, _ in told] == ["ORDER_RECEIVED", "SHIPPED", "DELIVERED", "COMPLETED"]


def test_every_text_exists_in_every_language():
    assert {kind: set(texts) for kind, texts in TEXTS.items()} == {kind: set(LETTERS) for kind in Notification.Type}
    assert all(set(words) == set(LETTERS) for words in REASONS.values())


def test_an_event_that_comes_twice_or_late_is_told_once():
    received = order_created(7, user=KIM)
    cancelled = OrderCancelled(order_id=7, user_id=KIM.user_id, reason="out of stock")

    notify([cancelled], CONTACTS)
    notify([received], CONTACTS)
    first = Notification.objects.values_list("pk", flat=True).order_by("pk")
    before = list(first)
    notify([received, cancelled], CONTACTS)

    assert list(first.all()) == before
    assert sorted(Notification.objects.values_list("type", "channel")) == [
        ("CANCELLED", "EMAIL"),
        ("CANCELLED", "SMS"),
        ("ORDER_RECEIVED", "EMAIL"),
        ("ORDER_RECEIVED", "SMS"),
    ]


def test_what_was_sent_is_not_sent_again_when_its_event_comes_again():
    event = order_created(7, user=KIM)
    notify([event], CONTACTS)
    Notification.objects.update(status="SENT")

    notify([event], CONTACTS)

    assert set(Notification.objects.values_list("status", flat=True)) == {"SENT"}


def test_an_unknown_user_is_not_told_and_the_neighbours_are():
    stranger = OrderCompleted(order_id=10, user_id=404)

    notify([stranger, OrderCompleted(order_id=11, user_id=LEE.user_id)], CONTACTS)

    assert [row.order_id for row in written()] == [11]


def test_a_hundred_events_take_as_many_statements_as_one():
    def statements(count: int, first: int) -> int:
        events: list[Any] = [order_created(first + number, user=KIM) for number in range(count)]
        with CaptureQueriesContext(connections["notifications"]) as captured:
            notify(events, CONTACTS)
        return len(captured)

    assert statements(1, first=1) == statements(100, first=1000) == 4
    assert Notification.objects.count() == 202


@pytest.mark.django_db(databases=["accounts", "notifications"], transaction=True)
def test_contacts_come_from_accounts_each_customer_once(django_user_model):
    known = django_user_model.objects.create_user(
        email="park@example.com", password="a-password-for-tests", name="박지민", phone="+821099990000", language="ko"
    )
    news: list[News] = [
        order_created(1, user=known.pk),
        OrderCompleted(order_id=1, user_id=known.pk),
        order_created(2, user=404),
    ]

    contacts = look_up_contacts(news)

    assert list(contacts) == [known.pk]
    contact = contacts[known.pk]
    assert (contact.name, contact.email, contact.phone, contact.language) == (
        "박지민",
        "park@example.com",
        "+821099990000",
        "ko",
    )

"""Outward webhooks: from an event to a program that checks the signature, and what happens when that says no."""

import json
import re
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient
from standardwebhooks.webhooks import Webhook as Verifier

from notifications import services
from notifications.models import Notification, StaffAction, Webhook, WebhookMessage
from notifications.tasks import notify, purge, review_webhooks, send_webhooks
from notifications.tests.dialogue import KIM, order_created
from notifications.webhooks import sending, subscriptions, transport
from notifications.webhooks.events import PUBLIC, TYPES, write_down
from notifications.webhooks.secrets import decrypted
from sagas import Unavailable
from sagas.events import uuid7
from shop.api.authentication import STAFF
from shop.api.tokens import AccessToken
from shop.calls import substituting
from shop.contracts.accounts import ContactsService
from shop.contracts.events import (
    DeliveryCompleted,
    DeliveryHandedOver,
    Line,
    OrderCancelled,
    OrderChanged,
    OrderCompleted,
    PaymentCaptured,
    PaymentCompleted,
    PaymentRefundCompleted,
)
from shop.contracts.reasons import said_by_carrier
from shop.contracts.return_events import (
    ReturnApproved,
    ReturnClosed,
    ReturnCompleted,
    ReturnExchanged,
    ReturnReceived,
    ReturnRefused,
    ReturnRequested,
)
from tests.support.locks import somebody_waits_for_us, take_turns
from tests.support.processes import eventually
from tests.support.receiver import Receiver

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "notifications"], transaction=True)

URL = "/api/v1/notifications/webhooks"
EXAMPLE = Path("docs/howto/webhooks.md").read_text()
User = get_user_model()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def this_machine_only(settings: Any) -> Iterator[None]:
    """No turn of one test goes on in the next."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    yield
    sending.wait()


def subscribed(url: str, *events: str, owner_id: int = 9, **fields: Any) -> tuple[Webhook, str]:
    webhook, secret = subscriptions.subscribe(owner_id=owner_id, url=url, events=events or tuple(TYPES))
    Webhook.objects.filter(pk=webhook.pk).update(**({"slow": False} | fields))
    webhook.refresh_from_db()
    return webhook, secret


def paid(order_id: int, **fields: Any) -> PaymentCompleted:
    return PaymentCompleted(order_id=order_id, checkout=order_created(order_id, user=KIM).checkout, **fields)


def send() -> int:
    """One tick, and the turns that it has begun."""
    begun = send_webhooks()
    sending.wait()
    return begun


def due_now(webhook: Webhook) -> None:
    WebhookMessage.objects.filter(webhook=webhook, status="PENDING").update(due_at=timezone.now())
    Webhook.objects.filter(pk=webhook.pk).update(free_at=timezone.now())


def states(webhook: Webhook) -> list[tuple[str, int, int | None]]:
    return list(webhook.messages.order_by("pk").values_list("status", "attempts", "answer"))


def gauge(name: str) -> float:
    from shop.operations import gauges

    found = gauges._families()
    gauges._ask_database("notifications", found)
    (sample,) = found[name].samples
    return sample.value


def api(*rights: str) -> APIClient:
    """A program whose token has these rights, as accounts gives them out."""
    token = AccessToken()
    user_id = next(_user_ids)
    token["user_id"], token["role"], token["scope"] = str(user_id), STAFF, " ".join(rights)
    program = APIClient(headers={"Authorization": f"Bearer {token}"})
    program.user_id = user_id  # type: ignore[attr-defined]
    return program


_user_ids = count(100)


# --- What is told -----------------------------------------------------------------------------------------------------
def test_a_program_subscribes_and_the_example_of_the_documentation_takes_what_it_is_sent():
    (code,) = re.findall(r"```python\n(.*?)```", EXAMPLE, re.DOTALL)
    example: dict[str, Any] = {}
    exec(code, example)
    example["Receiver"].log_message = lambda *_: None
    with Receiver(example["Receiver"]) as server:
        program = api("notifications.add_webhook", "orders.view_order")
        answer = program.post(URL, {"url": server.url, "events": ["order.paid", "order.created"]})
        assert (answer.status_code, answer.headers["Location"]) == (201, f"{URL}/{answer.json()['id']}")
        assert answer.json()["events"] == ["order.created", "order.paid"]
        example["SECRET"] = answer.json()["secret"]
        created, payment = order_created(7, user=KIM), paid(7)
        notify([created], {})
        notify([payment], {})
        write_down([created])  # it comes again
        notify([OrderCompleted(order_id=7, user_id=KIM.user_id)], {})  # not subscribed to

        assert send() == 1
        assert send() == 0

        assert list(example["handled"]) == [str(created.event_id), str(payment.event_id)]
        told = example["handled"][str(payment.event_id)]
        assert told.pop("timestamp").endswith("Z")
        assert told == {
            "type": "order.paid",
            "version": 1,
            "data": {"orderId": 7, "customerId": KIM.user_id, "amount": 33000, "currency": "KRW"},
        }
        assert example["handled"][str(created.event_id)]["data"]["items"] == [{"productId": 1, "quantity": 1}]
        example["SECRET"] = Verifier  # forgotten: another one refuses
        example["SECRET"] = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD5u+5fWl5rJY="
        notify([paid(8)], {})
        send()
        assert len(example["handled"]) == 2
        server.shutdown()
    shown = program.get(f"{URL}/{answer.json()['id']}/messages").json()["results"]
    assert [(one["type"], one["status"], one["answer"], one["error"]) for one in shown] == [
        ("order.paid", "PENDING", 401, "It answered 401."),
        ("order.paid", "SENT", 204, ""),
        ("order.created", "SENT", 204, ""),
    ]


def test_the_documentation_lists_all_events_and_their_fields():
    rows = re.findall(r"^\| `((?:order|return)\.\w+)` \|[^|]*\| (.*) \|$", EXAMPLE, re.MULTILINE)
    webhook, _ = subscribed("https://erp.example.com/")
    write_down(_one_of_each("cancelled by the customer"))
    bodies = dict(webhook.messages.values_list("type", "body"))
    assert bodies.keys() == set(TYPES)
    assert [(kind, re.findall(r"`(\w+)`", fields)) for kind, fields in rows] == [
        (kind, list(json.loads(bodies[kind])["data"])) for kind in TYPES
    ]


@pytest.mark.parametrize("reason", [said_by_carrier("김하나, 서울 12"), "김하나, 서울 12"])
def test_nobody_is_named(reason: str):
    webhook, _ = subscribed("https://erp.example.com/")
    write_down(_one_of_each(reason))
    bodies = "".join(webhook.messages.values_list("body", flat=True))
    for personal in ("김하나", "서울", "tok_ok", "sealed"):
        assert personal not in bodies
    assert json.loads(webhook.messages.get(type="order.cancelled").body)["data"]["reason"] in (
        "DELIVERY_FAILED",
        "OTHER",
    )


def _one_of_each(reason: str) -> list[Any]:
    number: dict[str, Any] = {"tracking_number": "CJ7", "user_id": 1, "order_id": 7}
    returned: dict[str, Any] = {"user_id": 1, "order_id": 7, "return_id": 8}
    return [
        order_created(7, user=KIM),
        paid(7),
        OrderChanged(
            order_id=7,
            user_id=1,
            change_id=uuid4(),
            lines=(Line(1, -1),),
            amount=-1_000,
            total=1_000,
            currency="KRW",
            address_changed=True,
        ),
        DeliveryHandedOver(**number),
        DeliveryCompleted(**number),
        OrderCompleted(order_id=7, user_id=1),
        OrderCancelled(order_id=7, user_id=1, reason=reason),
        PaymentRefundCompleted(order_id=7, user_id=1, refund_id=uuid4(), amount=1_000, currency="KRW"),
        ReturnRequested(**returned, lines=(Line(1, 1),)),
        ReturnApproved(**returned),
        ReturnReceived(**returned),
        ReturnExchanged(**returned, exchange_order_id=9),
        ReturnCompleted(**returned, amount=1000, currency="KRW"),
        ReturnRefused(**returned),
        ReturnClosed(**returned, expired=True),
    ]


def test_money_that_was_held_first_is_paid_when_it_is_taken():
    subscribed("https://erp.example.com/shop", "order.paid")
    write_down([PaymentCaptured(order_id=7, user_id=1, amount=900, currency="KRW")])
    message = WebhookMessage.objects.get()
    assert (message.type, json.loads(message.body)["data"]) == (
        "order.paid", {"orderId": 7, "customerId": 1, "amount": 900, "currency": "KRW"},
    )  # fmt: skip


def test_a_hundred_events_take_as_many_statements_as_one_and_none_more_for_subscribers():
    def statements(count: int) -> int:
        events = [paid(number) for number in range(1, count + 1)]
        with CaptureQueriesContext(connections["notifications"]) as captured:
            write_down(events)
        return len(captured)

    assert statements(100) == 1
    for number in range(3):
        subscribed(f"https://erp{number}.example.com/")
    assert statements(1) == statements(100) == 2
    assert WebhookMessage.objects.count() == 303


def test_who_unsubscribes_meanwhile_holds_nothing_up():
    webhook, _ = subscribed("https://erp.example.com/")
    with CaptureQueriesContext(connections["notifications"]):
        rows = [(webhook.pk, webhook.events)]
    subscriptions.unsubscribe(webhook.pk)
    WebhookMessage.objects.create(webhook_id=rows[0][0], event_id=uuid7(), type="order.paid", body="{}")  # no error
    assert send() == 0


# --- Sending ----------------------------------------------------------------------------------------------------------
def test_while_a_secret_is_replaced_both_are_good(receiver: Receiver):
    webhook, former = subscribed(receiver.url, "order.paid")
    secret = subscriptions.rotate(webhook.pk)
    write_down([paid(7)])
    send()
    (one,) = receiver.received
    for good in (former, secret):
        Verifier(good).verify(one.body, one.headers)
    webhook.refresh_from_db()
    assert (decrypted(webhook.secret), former in webhook.secret) == (secret, False)

    Webhook.objects.update(former_until=timezone.now())
    subscriptions.replay_message(webhook.pk, webhook.messages.get().pk)
    send()
    again = receiver.received[1]
    assert (again.headers["Webhook-Id"], again.body) == (one.headers["Webhook-Id"], one.body)
    assert len(again.headers["Webhook-Signature"].split()) == 1


def test_what_is_refused_comes_again_and_at_last_the_subscription_is_disabled(receiver: Receiver):
    webhook, _ = subscribed(receiver.url, "order.paid")
    receiver.answer = lambda one: 500
    write_down([paid(number) for number in range(1, 6)])

    before = timezone.now()
    assert send() == 1
    assert states(webhook) == [("PENDING", 1, 500)] * 3 + [("PENDING", 0, None)] * 2  # three strikes
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.enabled) == (3, True)
    first = webhook.messages.order_by("pk")[0]
    assert before + timedelta(seconds=5) <= first.due_at <= timezone.now() + timedelta(seconds=6.5)
    assert before + timedelta(seconds=20) <= webhook.free_at <= timezone.now() + timedelta(seconds=26)
    assert send() == 0

    due_now(webhook)
    send()
    assert len(receiver.received) == 4  # one that fails is asked with a single message

    Webhook.objects.update(failing_since=timezone.now() - sending.DEAD_AFTER, failures=9)
    due_now(webhook)
    send()
    webhook.refresh_from_db()
    assert not webhook.enabled
    assert webhook.disabled_reason.startswith("It has taken nothing since ")
    assert webhook.disabled_reason.endswith(" UTC. It answered 500.")
    due_now(webhook)
    assert send() == 0
    write_down([paid(9)])  # kept for when it is enabled
    receiver.answer = lambda one: 204
    subscriptions.change(webhook.pk, enabled=True)
    due_now(webhook)
    send()
    assert {status for status, _, _ in states(webhook)} == {"SENT"}
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.failing_since, webhook.disabled_reason) == (0, None, "")


def test_after_its_last_attempt_a_message_has_failed(receiver: Receiver):
    webhook, _ = subscribed(receiver.url, "order.paid")
    receiver.answer = lambda one: 404
    write_down([paid(1)])
    WebhookMessage.objects.update(attempts=len(sending.PAUSES))
    send()
    assert states(webhook) == [("FAILED", 10, 404)]
    assert sum(sending.PAUSES, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


def test_one_that_says_it_is_gone_is_disabled_at_once_and_one_that_asks_for_time_gets_it(receiver: Receiver):
    webhook, _ = subscribed(receiver.url, "order.paid")
    receiver.answer, receiver.headers = (lambda one: 429), {"Retry-After": "600"}
    write_down([paid(1)])
    send()
    webhook.refresh_from_db()
    assert webhook.free_at > timezone.now() + timedelta(seconds=590)
    receiver.answer, receiver.headers = (lambda one: 410), {}
    due_now(webhook)
    send()
    webhook.refresh_from_db()
    assert (webhook.enabled, webhook.disabled_reason) == (False, "It answered 410: it is gone.")


def test_who_keeps_others_waiting_keeps_only_others_like_that_waiting(receiver: Receiver, monkeypatch: Any):
    monkeypatch.setattr(transport, "TIMEOUT", 120.0)
    released = threading.Event()
    with Receiver() as tarpit:
        tarpit.answer = lambda one: 204 if released.wait(120) else 500
        for _ in range(sending.SLOW_TURNS + 2):
            subscribed(tarpit.url, "order.paid", slow=True)
        subscribed(receiver.url, "order.paid")
        write_down([paid(1)])
        assert send_webhooks() == 1 + sending.SLOW_TURNS  # the worker is free again, though nobody has answered
        for number in range(2, 5):
            write_down([paid(number)])
            eventually(lambda number=number: send_webhooks() < 2 and len(receiver.received) == number)  # type: ignore[misc]
        assert len(tarpit.received) == sending.SLOW_TURNS == sum(sending._running.values())
        released.set()
        sending.wait()
        tarpit.shutdown()


def test_a_turn_that_died_is_taken_up_when_its_lease_is_over(receiver: Receiver):
    webhook, _ = subscribed(receiver.url, "order.paid")
    write_down([paid(1)])
    assert sending._claim(slow=False, most=8) == [webhook.pk]  # and the process dies here
    assert send() == 0
    Webhook.objects.update(free_at=timezone.now())
    assert (send(), receiver.types) == (1, ["order.paid"])


def test_a_backlog_goes_out_in_portions_with_few_statements(receiver: Receiver):
    webhook, _ = subscribed(receiver.url, "order.paid")
    write_down([paid(number) for number in range(1, 3 * sending.PORTION)])
    send()
    assert len(receiver.received) == 3 * sending.PORTION - 1
    assert {status for status, _, _ in states(webhook)} == {"SENT"}


# --- By whom ----------------------------------------------------------------------------------------------------------
def test_replay_ping_and_change_by_api(receiver: Receiver):
    program = api("notifications.add_webhook", "orders.view_order")
    webhook, _ = subscribed(receiver.url, "order.paid", owner_id=program.user_id)  # type: ignore[attr-defined]
    one = f"{URL}/{webhook.pk}"
    write_down([paid(1)])
    write_down([paid(2)])
    send()
    WebhookMessage.objects.filter(order_id=1).update(created_at=timezone.now() - timedelta(hours=2))

    since = (timezone.now() - timedelta(hours=1)).isoformat()
    assert program.post(f"{one}/replay", {"since": since}).json() == {"messages": 1}
    assert program.patch(one, {"enabled": False}).json()["enabled"] is False
    ping = program.post(f"{one}/ping")
    assert (ping.status_code, ping.json()["type"], ping.json()["orderId"]) == (202, "ping", None)
    send()
    assert receiver.types == ["order.paid", "order.paid", "ping"]  # a disabled one is sent its ping only
    program.patch(one, {"enabled": True, "description": "ERP", "events": ["order.paid", "order.cancelled"]})
    send()
    assert receiver.types == ["order.paid", "order.paid", "ping", "order.paid"]
    assert receiver.received[1].headers["Webhook-Id"] == receiver.received[3].headers["Webhook-Id"]
    again = program.get(f"{one}/messages", {"orderId": 1}).json()["results"][0]
    assert program.post(f"{one}/messages/{again['id']}/replay").json()["status"] == "PENDING"
    assert program.post(f"{one}/messages/999999/replay").json()["code"] == "W002"
    replaced = program.post(f"{one}/secret")
    assert replaced.json()["secret"].startswith("whsec_")
    assert replaced.headers["Cache-Control"] == "no-store"
    assert [row["id"] for row in program.get(URL).json()["results"]] == [webhook.pk]
    assert program.delete(one).status_code == 204
    assert program.get(one).json()["code"] == "W001"
    actions = list(StaffAction.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["replay", "change", "ping", "change", "replay", "issue another secret", "unsubscribe"]


def test_a_replay_and_a_turn_lock_in_the_same_order(receiver: Receiver):
    """Locked the other way around, one of the two is aborted as a deadlock: the replay was answered 503."""
    webhook, _ = subscribed(receiver.url)
    write_down([paid(1), paid(2)])
    replayed = threading.Event()
    receiver.answer = lambda one: 204 if replayed.wait(30) else 500
    begun = send_webhooks()
    with transaction.atomic(using="notifications"):
        subscriptions._locked(webhook.pk)
        replayed.set()
        eventually(lambda: somebody_waits_for_us("notifications"))
        assert subscriptions._due_again(webhook.messages.all()) == 2
    sending.wait()
    assert (begun, states(webhook)) == (1, [("SENT", 1, 204)] * 2)

    with CaptureQueriesContext(connections["notifications"]) as asked:
        subscriptions.replay_messages(WebhookMessage.objects.all())
    locked, changed = (
        next(n for n, one in enumerate(asked) if word in one["sql"]) for word in ("FOR UPDATE", 'UPDATE "')
    )
    assert locked < changed


@pytest.mark.parametrize(
    ("tell", "told"),
    [(write_down, WebhookMessage), (lambda events: services.write_down(events, {KIM.user_id: KIM}), Notification)],
    ids=["webhooks", "customers"],
)
def test_the_same_events_are_written_down_in_the_same_order(tell: Any, told: Any):
    """A message that came again in another order was a deadlock, and a step that was tried again."""
    subscribed("https://erp.example.com/")
    first, second = sorted((order_created(order_id, user=KIM) for order_id in (1, 2)), key=lambda one: one.event_id)
    take_turns(
        "notifications",
        lambda: tell([first]),
        lambda: tell([second, first]),
        lambda: tell([second]),
    )
    assert set(told.objects.values_list("event_id", flat=True)) == {first.event_id, second.event_id}


@pytest.mark.parametrize(
    "url",
    ["http://erp.example.com/", "https://a:b@erp.example.com/", "https://10.0.0.1/", "https://erp.example.com:25/",
     "https://erp.example.com/#x", "ftp://erp.example.com/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/",
     "https://쇼핑.example.com/", "https://erp.example.com/주문"],
)  # fmt: skip
def test_addresses_that_are_refused_as_they_are_written(url: str, settings: Any):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    program = api("notifications.add_webhook", "orders.view_order")
    answer = program.post(URL, {"url": url, "events": ["order.paid"]})
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (400, ["url"])


def test_each_for_what_they_may_see_and_only_their_own():
    without = api("notifications.add_webhook")
    assert without.post(URL, {"url": "https://a.example.com/", "events": ["order.paid"]}).status_code == 403
    assert api("orders.view_order").get(URL).status_code == 403
    customer = APIClient()
    customer.force_authenticate(User(pk=3))
    assert customer.get(URL).status_code == 403

    program = api("notifications.add_webhook", "orders.view_order")
    pk = program.post(URL, {"url": "https://a.example.com/", "events": ["order.paid"]}).json()["id"]
    for method, path in (("get", ""), ("patch", ""), ("delete", ""), ("post", "/ping"), ("post", "/secret")):
        assert getattr(without, method)(f"{URL}/{pk}{path}", {}).json()["code"] == "W001"
    staff = api("notifications.add_webhook", "notifications.change_webhook")
    assert staff.get(f"{URL}/{pk}").status_code == 200
    for change in ({"events": ["order.created"]}, {"url": "https://b.example.com/"}, {"enabled": True}):
        assert staff.patch(f"{URL}/{pk}", change).status_code == 403, change  # they would be told what they may not see
    assert staff.patch(f"{URL}/{pk}", {"enabled": False}).status_code == 200
    Webhook.objects.bulk_create(
        Webhook(owner_id=program.user_id, url="https://a.example.com/", events=[], secret="")  # type: ignore[attr-defined]
        for _ in range(subscriptions.MOST)
    )
    assert program.post(URL, {"url": "https://a.example.com/", "events": ["order.paid"]}).json()["code"] == "W003"


def test_of_many_who_subscribe_at_once_none_is_one_too_many():
    for _ in range(subscriptions.MOST - 1):
        subscribed("https://a.example.com/")
    start = threading.Barrier(8)

    def one() -> bool:
        try:
            start.wait(timeout=10)
            subscribed("https://a.example.com/")
        except subscriptions.TooManyWebhooks:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(future.result(timeout=30) for future in [pool.submit(one) for _ in range(8)]) == 1


def test_who_loses_the_right_is_told_no_more():
    class Accounts:
        rights = {1: ["orders.view_order", "orders.view_return"], 2: ["orders.view_order", "orders.view_return"]}

        def get_rights(self, user_ids: Collection[int]) -> dict[int, list[str]]:
            return {user_id: self.rights[user_id] for user_id in user_ids}

    for owner_id in (1, 2):
        subscribed("https://a.example.com/", owner_id=owner_id)
    with substituting(ContactsService, Accounts()):
        assert review_webhooks() == 0
        Accounts.rights[2] = ["orders.view_order"]
        assert (review_webhooks(), review_webhooks()) == (1, 0)
    assert dict(Webhook.objects.values_list("owner_id", "disabled_reason")) == {
        1: "",
        2: "Its owner has not the right orders.view_return any more.",
    }


RIGHTS = ("notifications.add_webhook", "orders.view_order", "orders.view_return")


class Rights:
    """Accounts, where every owner has these rights."""

    def __init__(self, *rights: str) -> None:
        self.rights = rights

    def get_rights(self, user_ids: Collection[int]) -> dict[int, Collection[str]]:
        return dict.fromkeys(user_ids, self.rights)


class Away:
    def get_rights(self, user_ids: Collection[int]) -> Any:
        raise Unavailable("accounts")


def returned() -> ReturnRequested:
    return ReturnRequested(order_id=7, return_id=8, user_id=1, lines=(Line(1, 1),))


def test_what_is_not_subscribed_to_any_more_is_not_sent(receiver: Receiver):
    program = api(*RIGHTS)
    webhook, _ = subscribed(receiver.url, owner_id=program.user_id)  # type: ignore[attr-defined]
    one = f"{URL}/{webhook.pk}"
    write_down([returned()])
    send()
    sent = webhook.messages.get()
    program.patch(one, {"enabled": False})
    write_down([returned(), paid(1)])
    program.patch(one, {"events": ["order.paid"], "enabled": True})
    send()
    assert receiver.types == ["return.requested", "order.paid"]
    assert send() == 0  # what waits does not have it served
    assert gauge("webhook_messages_due") == 0

    since = (timezone.now() - timedelta(hours=1)).isoformat()
    assert program.post(f"{one}/replay", {"since": since}).json() == {"messages": 1}
    assert program.post(f"{one}/messages/{sent.pk}/replay").json()["code"] == "W002"
    assert subscriptions.replay_messages(WebhookMessage.objects.filter(pk=sent.pk)) == 0
    send()
    assert receiver.types == ["return.requested", "order.paid", "order.paid"]


def test_nobody_enables_what_its_owner_may_not_be_told(client: Any):
    client.force_login(User.objects.create_superuser(email="a@example.com", password="for-this-test", name="A"))
    lost, kept = (subscribed("https://a.example.com/", *events, enabled=False)[0] for events in ((), ("order.paid",)))
    enable = {"action": "enable", "_selected_action": [lost.pk, kept.pk]}
    staff = api("notifications.change_webhook", *RIGHTS)
    with substituting(ContactsService, Rights("orders.view_order")):
        answer = client.post("/admin/notifications/webhook/", enable, follow=True)
        assert staff.patch(f"{URL}/{lost.pk}", {"enabled": True}).status_code == 403
    assert [str(one) for one in answer.context["messages"]] == [
        f"Webhook {lost.pk} stays disabled: its owner has not the right orders.view_return.",
        "Webhooks changed: 1.",
    ]
    assert list(Webhook.objects.order_by("pk").values_list("enabled", flat=True)) == [False, True]
    with substituting(ContactsService, Away()):
        answer = client.post("/admin/notifications/webhook/", enable, follow=True)
    assert [str(one) for one in answer.context["messages"]] == [
        "Accounts is away: nobody knows what the owners may be told. Nothing was enabled."
    ]
    with substituting(ContactsService, Rights(*RIGHTS)):
        assert staff.patch(f"{URL}/{lost.pk}", {"enabled": True}).json()["enabled"] is True


def test_in_the_admin_dead_ones_are_shown_enabled_and_replayed(client: Any, receiver: Receiver):
    owner = User.objects.create_superuser(email="a@example.com", password="for-this-test", name="A")
    client.force_login(owner)
    webhook, secret = subscribed(
        receiver.url, owner_id=owner.pk, enabled=False, disabled_reason="It answered 410: it is gone."
    )
    subscribed("https://b.example.com/")
    write_down([paid(1)])
    page = client.get("/admin/notifications/webhook/?state=dead").content.decode()
    assert "it is gone" in page
    assert "b.example.com" not in page
    shown = client.get(f"/admin/notifications/webhook/{webhook.pk}/change/").content.decode()
    assert receiver.url in shown
    assert webhook.secret not in shown
    for action in ("ping", "enable"):
        client.post("/admin/notifications/webhook/", {"action": action, "_selected_action": [webhook.pk]})
    send()
    assert sorted(receiver.types) == ["order.paid", "ping"]
    message = webhook.messages.get(type="order.paid")
    client.post("/admin/notifications/webhookmessage/", {"action": "replay", "_selected_action": [message.pk]})
    send()
    assert receiver.types.count("order.paid") == 2
    assert secret not in str(list(StaffAction.objects.values_list("before", "after")))


def test_messages_go_with_retention_whatever_their_state(settings: Any):
    webhook, _ = subscribed("https://a.example.com/")
    write_down([paid(1), paid(2)])
    WebhookMessage.objects.filter(order_id=1).update(
        created_at=timezone.now() - settings.SAGAS.retention - timedelta(hours=1)
    )
    assert (purge(), purge()) == (1, 0)
    assert [one.order_id for one in webhook.messages.all()] == [2]


def test_dead_ones_are_counted_and_the_doctor_names_them():
    subscribed("https://a.example.com/", enabled=False, disabled_reason="It answered 410: it is gone.")
    subscribed("https://b.example.com/", enabled=False)
    write_down([paid(1)])
    from shop.operations import doctor

    assert (gauge("webhooks_dead"), gauge("webhook_messages_due")) == (1, 0)
    (finding,) = doctor._webhooks()
    assert (finding.well, finding.detail) == (False, "2 subscriptions, 1 of them dead")


def test_openapi_describes_them():
    from drf_spectacular.generators import SchemaGenerator

    described = SchemaGenerator().get_schema(request=None, public=True)["webhooks"]
    assert list(described) == [*TYPES, "ping"]
    assert set(PUBLIC.values()) == set(TYPES)
    operation = described["order.paid"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    assert body["example"]["data"] == {"orderId": 42, "customerId": 7, "amount": 66000, "currency": "KRW"}
    assert set(body["schema"]["properties"]["data"]["properties"]) == set(body["example"]["data"])


def test_a_process_without_the_key_of_a_secret_leaves_it_waiting(receiver: Receiver, settings: Any):
    webhook, _ = subscribed(receiver.url, "order.paid")
    write_down([paid(1)])
    settings.SECRET_KEY = "another one, which has nothing to do with the first"
    send()
    assert (states(webhook), receiver.received) == ([("PENDING", 0, None)], [])
    call_command("check")

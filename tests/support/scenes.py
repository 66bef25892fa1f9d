"""A process under test, and scenes that lead it past each boundary.

A scene does what comes before its first `yield` before the process starts, then what needs it running, and after the
second `yield` what is left to do when it has died and been started again.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from delivery.models import CarrierEvent, Delivery, ReturnParcel
from delivery.signatures import signature
from inventory.models import DeadLetter
from notifications.models import Inbox as NotificationsInbox
from notifications.models import Notification, Webhook
from notifications.webhooks.subscriptions import subscribe
from orders.cancellation import request_cancellation
from orders.models import FINAL, Order, OrderChange, Refund, Return
from orders.models import Unsent as OrdersUnsent
from orders.returns import decisions
from orders.returns.requests import Wanted, request_return
from payments.gateways import pages
from payments.links import return_url
from payments.models import GatewayLedger, GatewayNotification, Payment
from sagas import dead_letter_queue, dead_letters
from sagas.publisher import broker
from sagas.saga import service_of
from shop.contracts.events import Line
from tests.support.forks import Fork, relay, worker
from tests.support.ordering import PAID_AND_SENT
from tests.support.processes import eventually
from tests.support.receiver import Receiver
from tests.support.running_shop import Queues, Shop, history, outcome, relay_everything, stock_of, violations

PIECES = 1000
TIMERS = (  # those that bring orders on, or home
    "delivery.advance_deliveries",
    "payments.settle_payments",
    "notifications.send_pending",
    "orders.look_after",
    "orders.cancel_overdue",
)


class Stage:
    """The process under test, a worker for the others' parts, and this process as relay and beat."""

    def __init__(self, shop: Shop, queues: Queues, logs: Path) -> None:
        self.shop, self.queues, self._logs = shop, queues, logs
        self.all: list[Fork] = []
        self.hero: Fork | None = None
        self._worker: Fork | None = None
        self.clean = False
        self.customer = self.staff = ""  # what authorizes them

    def begin(self) -> None:
        """Nobody acts but a worker, perhaps, and this process; nothing is left of a scene that went wrong."""
        if self.hero is not None and self.hero is not self._worker:
            self.hero.kill()
        self.all = [fork for fork in self.all if fork is self._worker]  # whose logs are shown, should the test fail
        if not self.clean:
            self.end()
            self.shop.clear()
            broker.disconnect()
            broker.backlog()  # which declares all queues
            self.shop.set_stock(self.shop.products[0], PIECES)
        self.clean = False

    def end(self) -> None:
        for fork in self.all:
            fork.kill()
        self.all, self._worker = [], None

    def _start(self, role: Callable[[], None], **environment: str) -> Fork:
        log = self._logs / f"{role.__name__} {uuid4().hex[:8]}.log"
        self.all.append(Fork(role, log, **environment))
        return self.all[-1]

    def has(self, point: str, role: Callable[[], None]) -> None:
        """The process under test is to end at a point; there is a worker besides it, unless it is one."""
        self.point, self.role = point, role
        self.without_worker() if role is worker else self.with_worker()

    def start(self) -> None:
        self.hero = self._start(self.role, CRASH_POINTS="1", CRASH_AT=self.point)

    def start_again(self) -> None:
        self.hero = self._start(self.role)
        if self.role is worker:
            self._worker = self.hero

    def with_worker(self) -> None:
        """Have a worker besides the process under test."""
        self._worker = self._worker or self._start(worker)

    def without_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
            eventually(lambda: not self.queues.consumed())
            self.queues.purge()  # of what beat has sent

    def tick(self, *timers: str) -> None:
        """What beat does."""
        for timer in timers:
            current_app.send_task(timer, queue=service_of(timer), retry=False, ignore_result=True, expiration=30)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Ask the web process under test."""
        self.hero.is_ready()
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        url = f"http://127.0.0.1:{self.hero.port}/api/v1{path}"
        return httpx.post(url, content=content, headers=headers, timeout=20, trust_env=False)

    def comes_to_rest(self) -> None:
        """Let time pass until every order has ended, everybody was told, and everything adds up."""

        def at_rest() -> bool:
            self.tick(*TIMERS)
            self.shop.time_passes()
            Notification.objects.filter(status="PENDING").update(due_at=timezone.now())
            if self.role is not relay:
                relay_everything()
            assert [str(order) for order in Order.objects.exclude(status__in=FINAL)] == []
            assert [str(one) for one in Notification.objects.filter(status="PENDING")] == []
            assert violations() == []
            return True

        self.hero.is_ready()
        eventually(at_rest)


# —— Scenes ———————————————————————————————————————————————————————————————————————————————————————————————————————————
Scene = Callable[[Stage], Iterator[None]]


def ordered(stage: Stage) -> Iterator[None]:
    """For relays: the event waits in the outbox."""
    stage.shop.place()
    yield


def sent(stage: Stage) -> Iterator[None]:
    """For workers: the messages wait in their queues."""
    stage.shop.place()
    relay_everything()
    yield


def payment_unknown(stage: Stage) -> Iterator[None]:
    stage.shop.place(payment_token="tok_timeout_charged")
    relay_everything()
    yield
    unknown = Payment.objects.filter(status="PENDING", attempts__gt=0)
    eventually(lambda: unknown.update(due_at=timezone.now()))
    stage.tick("payments.settle_payments")


def until_it_is_paid(order_id: int) -> None:
    """…and everybody has been told of that."""
    eventually(Payment.objects.filter(order_id=order_id, status="COMPLETED").exists)
    relay_everything()


def order_undone(stage: Stage) -> Iterator[None]:
    order_id = stage.shop.place()
    relay_everything()
    yield
    until_it_is_paid(order_id)
    request_cancellation(order_id)
    relay_everything()


def payment_unknown_and_undone(stage: Stage) -> Iterator[None]:
    """It turns out to be charged when it is not to be any more."""
    order_id = stage.shop.place(payment_token="tok_timeout_charged")
    relay_everything()
    yield
    eventually(Payment.objects.filter(order_id=order_id, attempts__gt=0).exists)
    request_cancellation(order_id)
    relay_everything()
    undone = Payment.objects.filter(order_id=order_id, status="REFUNDING")
    eventually(lambda: undone.update(due_at=timezone.now()))
    stage.tick("payments.settle_payments")


def parcel_due(stage: Stage) -> Iterator[None]:
    order_id = stage.shop.place()
    relay_everything()
    yield
    until_it_is_paid(order_id)
    eventually(lambda: Delivery.objects.filter(status="PREPARING").update(due_at=timezone.now()))
    stage.tick("delivery.advance_deliveries")


def held_and_handed_over(stage: Stage) -> Iterator[None]:
    """A parcel whose order's money is only held."""
    order_id = stage.shop.place()
    relay_everything()
    yield
    until_it_is_paid(order_id)
    eventually(Delivery.objects.filter(order_id=order_id, status="PREPARING").exists)
    payment = Payment.objects.get(order_id=order_id)
    with transaction.atomic("payments"):  # as if it had been so from the beginning
        for model in (payment.operations, GatewayLedger.objects.filter(payment=payment.idempotency_key)):
            model.update(kind="AUTHORIZE")
        due = timezone.now() + timedelta(hours=1)
        Payment.objects.filter(pk=payment.pk).update(status="AUTHORIZED", captured=0, capture_later=True, due_at=due)
    Order.objects.filter(pk=order_id).update(capture="DUE")
    Delivery.objects.filter(order_id=order_id).update(unpaid=True, due_at=timezone.now())
    stage.tick("delivery.advance_deliveries")
    eventually(Delivery.objects.filter(order_id=order_id).exclude(status="PREPARING").exists)
    relay_everything()


def booking_due(stage: Stage) -> Iterator[None]:
    """A parcel whose carrier is still to be asked."""
    order_id = stage.shop.place()
    relay_everything()
    yield
    until_it_is_paid(order_id)
    open_again = {"status": "BOOKING", "tracking_number": None, "due_at": timezone.now()}
    eventually(lambda: Delivery.objects.filter(status="PREPARING").update(**open_again))
    stage.tick("delivery.advance_deliveries")


def notification_due(stage: Stage) -> Iterator[None]:
    stage.shop.place()
    relay_everything()
    yield
    eventually(Notification.objects.filter(status="PENDING").exists)
    stage.tick("notifications.send_pending")


def webhook_due(stage: Stage) -> Iterator[None]:
    """A subscriber is told, once or twice, of what it is about to be told."""
    with Receiver() as receiver:
        webhook, _ = subscribe(owner_id=stage.shop.customer, url=receiver.url, events=["order.created"])
        stage.shop.place()
        relay_everything()
        yield
        eventually(webhook.messages.exists)
        stage.tick("notifications.send_webhooks")
        yield

        def taken() -> bool:
            Webhook.objects.update(free_at=timezone.now())
            webhook.messages.update(due_at=timezone.now())
            stage.tick("notifications.send_webhooks")
            return webhook.messages.get().status == "SENT"

        eventually(taken)
        assert {one.headers["Webhook-Id"] for one in receiver.received} == {str(webhook.messages.get().event_id)}
        webhook.delete()
        receiver.shutdown()


def message_lost(stage: Stage) -> Iterator[None]:
    """An order that does not move, and those of earlier scenes, which have ended."""
    stage.shop.place()
    OrdersUnsent.objects.all().delete()  # it was published, and the broker lost it
    stage.shop.orders_stand_still()
    stage.tick("orders.look_after")
    yield
    yield
    stage.shop.orders_stand_still()


def deadline_past(stage: Stage) -> Iterator[None]:
    order_id = stage.shop.place()
    Order.objects.filter(pk=order_id).update(created_at=timezone.now() - timedelta(hours=1))
    stage.tick("orders.cancel_overdue")
    yield
    yield
    eventually(lambda: "OrderCancellationRequested" in history(order_id))


def retention_past(stage: Stage) -> Iterator[None]:
    old = CarrierEvent.objects.create(event_id=uuid4().hex, tracking_number="CJ1", status="DELIVERED")
    CarrierEvent.objects.filter(pk=old.pk).update(received_at=timezone.now() - 2 * settings.SAGAS.retention)
    stage.tick("delivery.purge")
    yield
    yield
    stage.tick("delivery.purge")
    eventually(lambda: not CarrierEvent.objects.exists())


def customer_leaves(stage: Stage) -> Iterator[None]:
    """A customer without orders is due to be erased."""
    gone = User.objects.create(email=f"{uuid4().hex}@example.com", name="Gone", is_active=False)
    User.objects.filter(pk=gone.pk).update(erasure_due_at=timezone.now())
    stage.tick("accounts.erase_closed")
    yield
    yield
    stage.tick("accounts.erase_closed")
    eventually(User.objects.filter(pk=gone.pk, erased_at__isnull=False).exists)
    relay_everything()
    heard = NotificationsInbox.objects.filter(step="notifications.erase_customer", correlation_id=gone.pk)
    eventually(heard.exists)


def event_unreadable(stage: Stage) -> Iterator[None]:
    broker.send("inventory.reserve_stock", [{"type": "Nonsense", "event_id": str(uuid4())}], "by a test")
    yield
    yield
    give_up_the_letter(attempts=2 if stage.point == "deadletter.committed" else 1)


def message_unreadable(stage: Stage) -> Iterator[None]:
    headers = {"lang": "py", "task": "inventory.reserve_stock", "id": str(uuid4())}
    stage.queues.put("inventory", "5", headers=headers, content_type="application/json")
    yield
    yield
    eventually(lambda: dead_letter_queue.drain("inventory"))
    give_up_the_letter()


def give_up_the_letter(attempts: int = 1) -> None:
    """The only one there is, when it has been written so often."""
    eventually(DeadLetter.objects.filter(attempts=attempts).exists)
    assert dead_letters.discard(DeadLetter.objects.get(), "by a test")
    DeadLetter.objects.all().delete()


def message_set_aside(stage: Stage) -> Iterator[None]:
    order_id = stage.shop.place()
    stage.without_worker()
    relay_everything()
    stage.queues.set_aside("inventory")
    yield
    yield
    letters = DeadLetter.objects.filter(correlation_id=order_id)
    eventually(letters.exists)
    dead_letters.replay(letters.get())
    stage.with_worker()
    eventually(letters.filter(resolution="HANDLED").exists)


# —— Scenes at the API: a request breaks off, and is made again ———————————————————————————————————————————————————————
def breaks_off(stage: Stage, path: str, body: Any, **headers: str) -> None:
    with pytest.raises(httpx.TransportError):
        stage.post(path, body, **headers)


def customer_orders(stage: Stage) -> Iterator[None]:
    body = {"productId": stage.shop.products[0], "quantity": 1, **PAID_AND_SENT}
    headers = {"Authorization": stage.customer, "Idempotency-Key": uuid4().hex}
    before = set(Order.objects.values_list("pk", flat=True))
    yield
    breaks_off(stage, "/orders", body, **headers)
    yield
    placed = set(Order.objects.values_list("pk", flat=True)) - before
    assert len(placed) == (stage.point == "order.committed")
    again = stage.post("/orders", body, **headers)
    assert again.status_code == 202
    assert {again.json()["id"]} == placed or not placed
    assert Order.objects.count() == len(before) + 1


def customer_cancels(stage: Stage) -> Iterator[None]:
    order_id = stage.shop.place()
    yield
    breaks_off(stage, f"/orders/{order_id}/cancel", None, Authorization=stage.customer)
    yield
    again = stage.post(f"/orders/{order_id}/cancel", Authorization=stage.customer)
    assert again.status_code == (202 if stage.point == "cancellation.written" else 409), again.text
    stage.comes_to_rest()
    assert outcome(order_id) == ("CANCELLED", "cancelled by the customer")


def carrier_tells(stage: Stage) -> Iterator[None]:
    order_id = stage.shop.place()
    relay_everything()
    until_it_is_paid(order_id)
    eventually(Delivery.objects.filter(order_id=order_id).exists)
    relay_everything()
    number = Delivery.objects.get(order_id=order_id).tracking_number
    body = {"eventId": uuid4().hex, "trackingNumber": number, "status": "DELIVERED"}
    at, (secret,) = str(int(time.time())), settings.CARRIER_SECRETS[number[:2]]
    signed = {"X-Carrier-Timestamp": at, "X-Carrier-Signature": signature(secret, at, json.dumps(body).encode())}
    yield
    breaks_off(stage, "/deliveries/carrier-events", body, **signed)
    yield
    assert stage.post("/deliveries/carrier-events", body, **signed).status_code == 202
    assert CarrierEvent.objects.filter(event_id=body["eventId"]).count() == 1
    stage.comes_to_rest()
    assert outcome(order_id) == ("COMPLETED", "")
    CarrierEvent.objects.all().delete()


def staff_books_stock(stage: Stage) -> Iterator[None]:
    product = stage.shop.products[1]
    on_hand, _ = stock_of(product)
    yield
    breaks_off(stage, f"/inventory/{product}/adjustments", {"delta": 7, "reason": "x"}, Authorization=stage.staff)
    yield
    assert stock_of(product) == (on_hand + 7 * (stage.point == "adjustment.committed"), 0)


def customer_comes_back(stage: Stage) -> Iterator[None]:
    """…from the sandbox's payment page, where they have paid."""
    order_id = waiting_for_customer(stage)
    yield
    address = urlsplit(return_url(order_id)).path.removeprefix("/api/v1")
    stage.hero.is_ready()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{stage.hero.port}/api/v1{address}?outcome=paid", timeout=20, trust_env=False)
    yield
    stage.hero.is_ready()
    url = f"http://127.0.0.1:{stage.hero.port}/api/v1{address}?outcome=paid"
    assert httpx.get(url, timeout=20, trust_env=False, follow_redirects=True).status_code == 200
    eventually(Payment.objects.filter(order_id=order_id, status="COMPLETED").exists)


def provider_notifies(stage: Stage) -> Iterator[None]:
    """A provider tells, twice, that a payment was made."""
    order_id = waiting_for_customer(stage)
    told = {"event": uuid4().hex, "payment": name_of(order_id)}
    yield
    breaks_off(stage, "/payments/notifications/TOSS_PAYMENTS", told)
    yield
    assert stage.post("/payments/notifications/TOSS_PAYMENTS", told).status_code == 202
    assert GatewayNotification.objects.filter(event_id=told["event"]).count() == 1


def waiting_for_customer(stage: Stage) -> int:
    """An order whose customer has just paid on a page, of which only the gateway knows."""
    stage.with_worker()
    order_id: int = stage.shop.place(payment_token="tok_action")
    relay_everything()
    eventually(Payment.objects.filter(order_id=order_id, status="WAITING").exists)
    pages.decide("TOSS_PAYMENTS", name_of(order_id), paid=True)
    return order_id


def name_of(order_id: int) -> str:
    """What the order's payment is called at its gateway."""
    return Payment.objects.get(order_id=order_id).idempotency_key


def customer_changes(stage: Stage) -> Iterator[None]:
    """One piece of two is cancelled, and the other one sent elsewhere."""
    order_id = paid(stage, 2)
    wanted = {"items": [{"productId": stage.shop.products[0], "quantity": 1}], "address": "2 Low Street"}
    headers = {"Authorization": stage.customer, "Idempotency-Key": uuid4().hex}
    yield
    breaks_off(stage, f"/orders/{order_id}/changes", wanted, **headers)
    yield
    again = stage.post(f"/orders/{order_id}/changes", wanted, **headers)
    assert again.status_code == 202, again.text
    changes = OrderChange.objects.filter(order=order_id)
    assert changes.count() == 1
    settled(stage, order_id, changes.filter(status="MADE"))


def staff_refund(stage: Stage) -> Iterator[None]:
    """A part, of an order that is paid."""
    order_id = paid(stage)
    wanted = {"amount": 100, "reason": "a scratch"}
    headers = {"Authorization": stage.staff, "Idempotency-Key": uuid4().hex}
    yield
    breaks_off(stage, f"/orders/{order_id}/refunds", wanted, **headers)
    yield
    again = stage.post(f"/orders/{order_id}/refunds", wanted, **headers)
    assert again.status_code == 202, again.text
    refunds = Refund.objects.filter(order_id=order_id)
    assert refunds.count() == 1
    settled(stage, order_id, refunds.filter(status="COMPLETED"))


def paid(stage: Stage, quantity: int = 1) -> int:
    """An order whose customer has paid."""
    stage.with_worker()
    order_id: int = stage.shop.place(quantity)
    relay_everything()
    until_it_is_paid(order_id)
    return order_id


def settled(stage: Stage, order_id: int, rows: QuerySet[Any]) -> None:
    """Have gateways asked about the order's payment until there is such a row."""

    def there() -> bool:
        relay_everything()
        Payment.objects.filter(order_id=order_id, due_at__isnull=False).update(due_at=timezone.now())
        stage.tick("payments.settle_payments")
        return rows.exists()

    eventually(there)


# —— Returns ——————————————————————————————————————————————————————————————————————————————————————————————————————————
def delivered(stage: Stage) -> int:
    """An order that has come to its end."""
    order_id: int = stage.shop.place()

    def there() -> bool:
        relay_everything()
        stage.shop.time_passes()
        stage.tick("delivery.advance_deliveries")
        return Order.objects.filter(pk=order_id, status="COMPLETED").exists()

    eventually(there)
    return order_id


def returned(stage: Stage) -> int:
    """A return that waits for staff."""
    lines = [Line(stage.shop.products[0], 1)]
    return request_return(delivered(stage), Wanted(lines=lines)).pk


def customer_returns(stage: Stage) -> Iterator[None]:
    order_id = delivered(stage)
    body = {"items": [{"productId": stage.shop.products[0], "quantity": 1}]}
    headers = {"Authorization": stage.customer, "Idempotency-Key": uuid4().hex}
    yield
    breaks_off(stage, f"/orders/{order_id}/returns", body, **headers)
    yield
    again = stage.post(f"/orders/{order_id}/returns", body, **headers)
    assert again.status_code == 201, again.text
    assert Return.objects.filter(order_id=order_id).count() == 1


def customer_withdraws(stage: Stage) -> Iterator[None]:
    pk = returned(stage)
    yield
    breaks_off(stage, f"/returns/{pk}/withdraw", None, Authorization=stage.customer)
    yield
    again = stage.post(f"/returns/{pk}/withdraw", Authorization=stage.customer)
    assert again.status_code == (202 if stage.point == "return_withdrawal.written" else 409), again.text
    _comes_to(pk, "WITHDRAWN")


def staff_approves(stage: Stage) -> Iterator[None]:
    pk = returned(stage)
    yield
    breaks_off(stage, f"/returns/{pk}/approve", None, Authorization=stage.staff)
    yield
    again = stage.post(f"/returns/{pk}/approve", Authorization=stage.staff)
    assert again.status_code == (202 if stage.point == "return_decision.written" else 409), again.text
    _comes_to(pk, "RECEIVED", stage)


def return_lost(stage: Stage) -> Iterator[None]:
    """A return that does not move: its approval was published, and the broker lost it."""
    yield
    pk = returned(stage)
    decisions.approve(pk)
    OrdersUnsent.objects.all().delete()
    Return.objects.filter(pk=pk).update(look_at=timezone.now())
    stage.tick("orders.look_after_returns")
    yield
    Return.objects.filter(pk=pk).update(look_at=timezone.now())
    stage.tick("orders.look_after_returns")
    _comes_to(pk, "RECEIVED", stage)


def _comes_to(return_id: int, status: str, stage: Stage | None = None) -> None:
    def there() -> bool:
        relay_everything()
        if stage:
            ReturnParcel.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
            stage.tick("delivery.advance_deliveries")
        return Return.objects.filter(pk=return_id, status=status).exists()

    eventually(there)
    relay_everything()

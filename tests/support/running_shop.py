"""The shop as the tests of this folder see it: its processes, its queues, and what its databases say."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec
from amqp.exceptions import NotFound
from celery import current_app
from django.apps import apps
from django.db import OperationalError, connections
from django.utils import timezone
from kombu import Connection

from accounts.models import User
from audit import Violation, audit
from catalog.models import Product
from delivery.models import Delivery
from inventory.models import StockItem
from inventory.services import adjust_stock, seed_stock
from notifications.models import Notification
from orders.models import FINAL, Order
from payments.models import GatewayLedger, Payment, SandboxSwitch
from sagas.conf import choreography
from sagas.events import encode
from sagas.publisher import broker, publish
from sagas.registry import TIMERS
from sagas.relay import publish_deferred, publish_outbox
from sagas.topology import dead_letter_queues, queues
from shop.contracts.events import Checkout, Line, OrderEvent
from shop.seal import What, seal
from tests.support.ordering import place_order
from tests.support.processes import Process, Processes, eventually

PRICE = 1000  # won, of every product
GATEWAY = "TOSS_PAYMENTS"


class Queues:
    """The queues of the shop, looked at from outside."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url, connect_timeout=4)

    def __enter__(self) -> Self:
        self._connection.ensure_connection(max_retries=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.release()

    def delete(self, *names: str) -> None:
        """Delete these, or all there are; with what is in them."""
        with self._connection.channel() as channel:
            for name in names or [queue.name for queue in (*queues(), *dead_letter_queues())]:
                channel.queue_delete(name)

    def purge(self) -> None:
        for queue in (*queues(), *dead_letter_queues()):
            try:
                with self._connection.channel() as channel:
                    channel.queue_purge(queue.name)
            except NotFound:
                continue

    def waiting(self, name: str) -> int:
        """How many messages nobody has fetched yet."""
        with self._connection.channel() as channel:
            return channel.queue_declare(name, passive=True).message_count

    def has_exchange(self, name: str) -> bool:
        try:
            with self._connection.channel() as channel:
                channel.exchange_declare(name, "topic", passive=True)
        except NotFound:
            return False
        return True

    def consumed(self) -> bool:
        """Whether anybody listens to any of them."""
        with self._connection.channel() as channel:
            return any(channel.queue_declare(queue.name, passive=True).consumer_count for queue in queues())

    def take(self, name: str) -> list[Any]:
        """All messages that wait, out of the queue."""
        with self._connection.channel() as channel:
            messages = []
            while message := channel.basic_get(name, no_ack=True):
                messages.append(message)
            return messages

    def take_and_die(self, name: str) -> bool:
        """Fetch a message as a worker does that ends without an acknowledgement; whether there was one."""
        with self._connection.channel() as channel:
            return channel.basic_get(name) is not None

    def set_aside(self, name: str) -> None:
        """Reject a message, as a worker does that cannot work on it."""
        with self._connection.channel() as channel:
            message = channel.basic_get(name)
            channel.basic_reject(message.delivery_tag, requeue=False)
        eventually(lambda: self.waiting(f"{name}.dead") == 1)

    def put(self, name: str, body: bytes | str, *, headers: dict[str, Any], content_type: str) -> None:
        """Publish a message as it is, whatever it is."""
        with self._connection.channel() as channel:
            message = channel.prepare_message(
                body,
                content_type=content_type,
                content_encoding="utf-8",
                headers=headers,
                properties={"delivery_mode": 2},
            )
            channel.basic_publish(message, routing_key=name)

    @contextmanager
    def full(self, name: str, length: int) -> Iterator[None]:
        """Within the block the queue refuses what is beyond a length."""
        queue: Any = next(queue for queue in queues() if queue.name == name)
        arguments = {**queue.queue_arguments, "x-max-length": length}
        self.delete(name)
        with self._connection.channel() as channel:
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
            channel.queue_bind(name, exchange=name, routing_key=name)
        try:
            yield
        finally:
            self.delete(name)


def events_in(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """The events that messages carry."""
    return [event for message in messages for event in msgspec.json.decode(message.body)[0][0]]


class Shop:
    """Processes, and helpers that read as a test's sentences."""

    def __init__(self, processes: Processes, queues: Queues) -> None:
        self.processes, self.queues = processes, queues
        self._standing: list[Process] = []
        self.products = [
            Product.objects.create(name=f"Product {number}", price=PRICE, currency="KRW").pk for number in (1, 2)
        ]
        self.customer = User.objects.create(
            verified_at=timezone.now(),
            email="somebody@example.com",
            name="Kim Somebody",
            phone="010-1234-5678",
            password="!",
        ).pk

    # —— Processes ——
    def open(self) -> None:
        """Have everything running: two workers with two children each, two relays, two beats."""
        if not self._standing:
            self._standing = [
                *(self.processes.worker(f"worker{number}", concurrency=2) for number in (1, 2)),
                *(self.processes.relay(f"relay{number}") for number in (1, 2)),
                *(self.processes.beat(f"beat{number}") for number in (1, 2)),
            ]
            for process, text in zip(
                self._standing, ["ready."] * 2 + ["Relaying"] * 2 + ["beat: Starting"] * 2, strict=True
            ):
                process.says(text)

    def close(self) -> None:
        """End everything that runs."""
        self.processes.stop()
        self._standing = []

    def standing(self, kind: str) -> list[Process]:
        return [process for process in self._standing if process.name.startswith(kind)]

    def must_run(self) -> None:
        assert [process.name for process in self._standing if not process.runs] == []

    # —— The state of things ——
    def clear(self) -> None:
        """No order, no message; ten pieces of everything."""
        _truncate_all()  # now nobody finds anything to begin with,
        if self._standing:
            eventually(self._is_quiet)  # what was begun comes to its end,
        self.queues.purge()
        _truncate_all()  # and what it has left is gone, too
        seed_stock(dict.fromkeys(self.products, 10))

    def _is_quiet(self) -> bool:
        """Whether nothing of an earlier test is being done any more; what has not begun is not begun."""
        for _ in range(2):  # what was on its way to a queue at the first look has come there by the second
            for service in choreography().services:
                apps.get_model(service, "Outbox").objects.all().delete()
            self.queues.purge()
            if self._at_work("active") or any(name not in TIMERS for name in self._at_work("reserved")):
                return False
        return True

    def _at_work(self, how: str) -> list[str]:
        """The tasks that the standing workers have in hand."""
        workers = len(self.standing("worker"))
        replies = current_app.control.broadcast(how, reply=True, limit=workers, timeout=20) or []
        assert len(replies) == workers
        return [task["name"] for reply in replies for tasks in reply.values() for task in tasks]

    def set_stock(self, product_id: int, quantity: int) -> None:
        """Book pieces in or out."""
        on_hand, _ = stock_of(product_id)
        adjust_stock(product_id=product_id, delta=quantity - on_hand, reason="by a test")

    def place(self, quantity: int = 1, *, product: int = 0, **wishes: Any) -> int:
        """Order through the orders service, as its view does; returns the order's id."""
        lines = [Line(self.products[product], quantity)]
        return place_order(user_id=self.customer, lines=lines, **wishes).pk

    def write_order(self) -> tuple[int, Checkout]:
        """An order that nobody has told of yet, and what its events carry."""
        order = Order.objects.create(
            user_id=self.customer, currency="KRW", total_price=PRICE, payment_gateway=GATEWAY, look_at=timezone.now()
        )
        order.items.create(product_id=self.products[0], product_name="Product 1", unit_price=PRICE, quantity=1)
        order.timeline.create(service="orders", event="OrderCreated", status=order.status)
        return order.pk, self.checkout(order.pk)

    def checkout(self, order_id: int, **fields: Any) -> Checkout:
        """What events of the forward chain carry."""
        usual: dict[str, Any] = {
            "user_id": self.customer,
            "amount": PRICE,
            "currency": "KRW",
            "payment_gateway": GATEWAY,
            "payment_token": "tok_ok",
            "lines": (Line(self.products[0], 1),),
            "address": seal("서울특별시 중구 세종대로 110", What.ADDRESS, order_id=order_id),
        }
        return Checkout(**usual | fields)

    def tell(self, event: OrderEvent, *steps: str) -> None:
        """Publish an event, to all that hear it or only to these steps, and wait until they have handled it."""
        for step in steps:
            broker.send(step, [encode(event)], "by a test")
        if not steps:
            publish([event])
        for step in steps or choreography().heard_by[type(event)]:
            eventually(partial(handled, step, event))

    @contextmanager
    def gateway_away(self) -> Iterator[None]:
        """The payment gateway does not answer within the block."""
        SandboxSwitch.objects.update_or_create(gateway=GATEWAY, defaults={"away": True})
        yield
        SandboxSwitch.objects.filter(gateway=GATEWAY).update(away=False)

    def comes_to(self, order_id: int, status: str) -> None:
        """Wait until an order has this status."""

        def has() -> bool:
            assert Order.objects.get(pk=order_id).status == status
            return True

        eventually(has)

    def time_passes(self) -> None:
        """What carriers and payments have put off is due now."""
        now = timezone.now()
        Delivery.objects.filter(due_at__gt=now).update(due_at=now)
        Payment.objects.filter(due_at__gt=now, status__in=["REFUNDING", "VOIDED"]).update(due_at=now)
        Payment.objects.filter(due_at__gt=now, status="PENDING", attempts__gt=0).update(due_at=now)
        Payment.objects.filter(due_at__gt=now, status="WAITING").update(due_at=now)

    @staticmethod
    def orders_stand_still() -> None:
        """None has moved for so long that somebody looks after it."""
        now = timezone.now()
        Order.objects.update(look_at=now, progress_at=now - timedelta(hours=2))

    @staticmethod
    def relay_and_carry() -> None:
        """What relays and carriers do, for shops in which neither runs."""
        relay_everything()
        TIMERS["delivery.advance_deliveries"]()

    def ends(
        self, *order_ids: int, meanwhile: Callable[[], Any] = lambda: None, audited: bool = True
    ) -> list[tuple[str, str]]:
        """Let time pass until these orders have ended and, to the audit, everything adds up; status and reason of each.

        What a test has published by itself comes from nowhere to the audit.
        """

        def ended() -> bool:
            self.time_passes()
            meanwhile()
            open_orders = Order.objects.filter(pk__in=order_ids).exclude(status__in=FINAL)
            assert [str(order) for order in open_orders] == []
            assert not audited or violations() == []
            return True

        eventually(ended)
        return [outcome(order_id) for order_id in order_ids]


def relay_everything() -> None:
    """What relays do."""
    for service in choreography().services:
        publish_outbox(service)
        publish_deferred(service)


def _truncate_all() -> None:
    for service in choreography().services:
        eventually(partial(_truncate, service))


def _truncate(service: str) -> bool:
    models = apps.get_app_config(service).get_models()  # but who they are: accounts' customers and staff stay
    tables = ", ".join(one._meta.db_table for one in models if one._meta.model_name not in ("user", "signin", "guess"))
    try:
        with connections[service].cursor() as cursor:
            cursor.execute(f"TRUNCATE {tables}")
    except OperationalError:  # a timer held one of them, and waits for another
        return False
    return True


# —— What the databases say ——————————————————————————————————————————————————————————————————————————————————————————
def handled(step: str, event: OrderEvent) -> bool:
    """Whether a step has an event in its inbox."""
    service = step.partition(".")[0]
    return apps.get_model(service, "Inbox").objects.filter(step=step, event_id=event.event_id).exists()


def outcome(order_id: int) -> tuple[str, str]:
    order = Order.objects.get(pk=order_id)
    return order.status, order.cancellation_reason


def history(order_id: int) -> list[str]:
    return list(Order.objects.get(pk=order_id).timeline.values_list("event", flat=True))


def stock_of(product_id: int) -> tuple[int, int]:
    """On hand, and reserved."""
    item = StockItem.objects.get(product_id=product_id)
    return item.on_hand, item.reserved


def booked() -> list[tuple[str, int]]:
    """What the gateways' ledgers hold."""
    return sorted(GatewayLedger.objects.values_list("kind", "amount"))


def told() -> list[str]:
    """What the customer was told."""
    return sorted(Notification.objects.values_list("type", flat=True))


def violations() -> list[Violation]:
    """What the strict audit finds."""
    return [found for found in audit(strict=True) if isinstance(found, Violation)]

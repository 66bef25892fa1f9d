"""Each service has a user of its own at RabbitMQ, with rights to its own queue and to what its steps emit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from secrets import token_hex
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from amqp.exceptions import AccessRefused, NotAllowed, PreconditionFailed
from celery import current_app
from django.core.management import CommandError, call_command
from kombu import Connection

from sagas.conf import choreography, hook
from sagas.publisher import broker, publish
from sagas.registry import STEPS
from sagas.topology import declare
from scripts.servers import Memory, RabbitMQ
from shop.contracts.events import (
    DeliveryCompleted,
    InventoryReserved,
    OrderCreated,
    PaymentCompleted,
    origin,
)
from shop.operations.broker import definitions, rights
from tests.support.running_shop import Queues, Shop

USERS = sorted(rights())


def test_what_steps_emit_has_one_origin_which_the_rights_go_by():
    for step in STEPS.values():
        assert {origin(event) for event in step.emits} <= {step.service}


def test_the_rights_of_each():
    assert rights()["orders"].configure == "^(celeryev)$"
    assert rights()["orders"].write == "^(celeryev|delivery|inventory|notifications|orders|payments)$"
    assert rights()["orders"].read == r"^(orders|orders\.dead)$"
    assert rights()["payments"].write == "^(celeryev|delivery|inventory|notifications|orders)$"
    assert rights()["notifications"].write == "^(celeryev)$"
    assert rights()["accounts"].write == "^(celeryev|delivery|inventory|notifications|orders|payments)$"
    everybodys = "^(accounts|delivery|inventory|notifications|orders|payments)$"
    assert rights()["office"] == rights()["beat"] == ("", everybodys, "")
    assert "catalog" not in rights()


class Users:
    """The broker as its users see it."""

    def __init__(self, url: str, prefix: str, passwords: dict[str, str]) -> None:
        self._url, self._prefix, self._passwords = urlsplit(url), prefix, passwords

    def url(self, user: str) -> str:
        host = self._url.netloc.rpartition("@")[2]
        return self._url._replace(netloc=f"{self._prefix}{user}:{self._passwords[user]}@{host}").geturl()

    @contextmanager
    def channel(self, user: str) -> Iterator[Any]:
        with Connection(self.url(user), connect_timeout=4) as connection:
            yield connection.channel()


@pytest.fixture(scope="module")
def users(queues: Queues) -> Iterator[Users]:
    from django.conf import settings

    url, prefix = settings.BROKER_URL, f"{settings.PREFIX}rights_"
    vhost = unquote(urlsplit(url).path[1:]) or "/"
    passwords = {user: token_hex(16) for user in USERS}
    rabbitmq = RabbitMQ(Memory())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "PREFIX", prefix)
        told = definitions(vhost, passwords)
    assert not any(password in str(told) for password in passwords.values())
    rabbitmq.define(url, json.dumps(told))
    yield Users(url, prefix, passwords)
    broker.disconnect()
    rabbitmq.drop_users(url, prefix)


@pytest.fixture
def publishing_as(users: Users, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Any]:
    """Publishes events with the user of a service, which declares nothing."""
    settings.SAGAS = replace(settings.SAGAS, declares=False)

    def publishing(user: str, *events: Any, to: Any = None) -> None:
        broker.disconnect()
        monkeypatch.setattr(current_app.conf, "broker_write_url", users.url(user))
        publish(events, to)

    yield publishing
    broker.disconnect()


def test_a_service_emits_what_is_its_own_to_emit(publishing_as: Any, queues: Queues, shop: Shop):
    checkout = shop.checkout(1)

    publishing_as("orders", OrderCreated(order_id=1, checkout=checkout))
    publishing_as("inventory", InventoryReserved(order_id=1, checkout=checkout))
    publishing_as("payments", PaymentCompleted(order_id=1, checkout=checkout))
    publishing_as("delivery", DeliveryCompleted(order_id=1, user_id=7, tracking_number="T1"))

    waiting = {service: queues.waiting(service) for service in choreography().services}
    assert waiting == {"accounts": 0, "inventory": 1, "payments": 1, "delivery": 1, "orders": 3, "notifications": 3}


@pytest.mark.parametrize("thief", ["notifications", "delivery", "flower"])
def test_nobody_else_says_that_an_order_is_paid(publishing_as: Any, queues: Queues, shop: Shop, thief: str):
    with pytest.raises(AccessRefused):
        publishing_as(thief, PaymentCompleted(order_id=1, checkout=shop.checkout(1)))

    assert queues.waiting("delivery") == 0


def test_a_message_says_who_has_sent_it_and_the_broker_vouches_for_that(
    publishing_as: Any, users: Users, queues: Queues, shop: Shop
):
    paid = PaymentCompleted(order_id=1, checkout=shop.checkout(1))
    publishing_as("orders", paid, to={PaymentCompleted: ["delivery.start_delivery"]})  # it may write to that queue
    with users.channel("delivery") as channel:
        forged = channel.basic_get("delivery", no_ack=True)
    sender = forged.properties["user_id"]
    assert sender == f"{users._prefix}orders"
    with users.channel("orders") as channel:
        message = channel.prepare_message(
            "x", content_encoding="utf-8", properties={"user_id": f"{users._prefix}payments"}
        )
        channel.confirm_select()
        with pytest.raises(PreconditionFailed):
            channel.basic_publish_confirm(message, exchange="delivery", routing_key="delivery")


def test_whose_event_is_whose(users: Users, settings: Any):
    settings.PREFIX = "shop_"
    asked = lambda sender: hook().may_emit(sender, PaymentCompleted)  # noqa: E731
    for one_for_all in ("amqp://guest:guest@broker//", "memory://"):
        settings.BROKER_URL = one_for_all
        assert asked(None)
    settings.BROKER_URL = "amqp://shop_delivery:x@one//;amqp://shop_delivery:x@two//"
    believed = {user for user in (*USERS, "", "guest") if asked(f"shop_{user}")}
    assert (believed, asked(None), asked("payments")) == ({"payments", "office"}, False, False)


@pytest.mark.parametrize("exchange", ["", "shop.dead", "amq.direct"])
def test_no_other_exchange_leads_to_a_queue(users: Users, exchange: str):
    """The default one would lead to all of them."""
    for user in USERS:
        with users.channel(user) as channel:
            message = channel.prepare_message("[[], {}, {}]", content_encoding="utf-8")
            channel.confirm_select()
            with pytest.raises(AccessRefused):
                channel.basic_publish_confirm(message, exchange=exchange, routing_key="delivery")


def test_a_service_reads_its_own_queue_and_no_other(users: Users):
    for user in USERS:
        for queue in choreography().services:
            for name in (queue, f"{queue}.dead"):
                with users.channel(user) as channel:
                    if user == queue:
                        assert channel.basic_get(name) is None
                    else:
                        with pytest.raises(AccessRefused):
                            channel.basic_get(name)


def test_nobody_declares_deletes_or_empties_a_queue_or_tells_workers_what_to_do(users: Users):
    for user in USERS:
        with Connection(users.url(user)) as connection, pytest.raises(AccessRefused):
            declare(connection)
        with users.channel(user) as channel, pytest.raises(AccessRefused):
            channel.queue_delete("orders")
        if user != "orders":
            with users.channel(user) as channel, pytest.raises(AccessRefused):
                channel.queue_purge("orders")
        if user != "flower":
            with users.channel(user) as channel, pytest.raises(AccessRefused):
                channel.exchange_declare("celery.pidbox", "fanout", durable=False, auto_delete=False)


def test_the_catalogue_has_no_user(users: Users):
    users._passwords["catalog"] = "guess"
    with pytest.raises((AccessRefused, NotAllowed)), users.channel("catalog"):
        pass


def test_the_command_asks_for_every_password_and_prints_none(settings: Any):
    settings.BROKER_PASSWORDS = dict.fromkeys(USERS, "secret") | {"beat": ""}
    with pytest.raises(CommandError, match=r"^Set BEAT_BROKER_PASSWORD\.$"):
        call_command("broker")
    settings.BROKER_PASSWORDS = dict.fromkeys(USERS, "secret")
    with pytest.raises(CommandError, match=r"^Set BROKER_ADMIN_URL"):
        call_command("broker")

    out = StringIO()
    call_command("broker", definitions=True, stdout=out)

    told = json.loads(out.getvalue())
    assert "secret" not in out.getvalue()
    assert [one["user"] for one in told["permissions"]] == [one["name"] for one in told["users"]]
    names = {one["name"] for one in told["queues"]}
    assert names == {f"{service}{dead}" for service in choreography().services for dead in ("", ".dead")}

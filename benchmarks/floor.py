"""The floor: the least code that does the durable work of a four-step saga. No framework can be faster.

    inventory.reserve ─► payments.charge ─► delivery.deliver ─► orders.complete

One database and one quorum queue per service. Each event leaves an inbox row with what it emitted, and a business row,
in one commit; what it emitted is published with a confirm; only then is the message acknowledged. A message that comes
again finds its inbox rows and publishes what they hold. Orders start from an outbox row. So nothing is lost or done
twice, as in the shop, and messages carry a batch, as in the shop.

It leaves out what an application needs beyond that: counting stock, calling a gateway, retries, dead letters,
compensation, traces.

    python -m benchmarks.floor relay    a worker that also publishes the outbox
    python -m benchmarks.floor          a worker
    python -m benchmarks.floor place    places as many orders as each line of standard input says
"""

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import amqp
import msgspec
import psycopg2

from benchmarks.surroundings import LIMIT
from sagas.events import uuid7

PAUSE = 0.005  # seconds between polls of the outbox
NEXT = {"inventory": "payments", "payments": "delivery", "delivery": "orders", "orders": None}
QUEUE = "floor.{}"

SCHEMA = """
    CREATE TABLE inbox (event_id uuid PRIMARY KEY, order_id bigint NOT NULL, emitted json,
                        handled_at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE effect (order_id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE placed (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE outbox (event_id uuid PRIMARY KEY, order_id bigint NOT NULL, payload json NOT NULL,
                         published_at timestamptz);
    CREATE INDEX ON outbox (order_id) WHERE published_at IS NULL;
"""
CLAIM = """
    SELECT event_id, payload::text FROM outbox WHERE published_at IS NULL
    ORDER BY order_id LIMIT %s FOR UPDATE SKIP LOCKED
"""
MARK = "UPDATE outbox SET published_at = clock_timestamp() WHERE event_id = ANY(%s::uuid[])"
# The inbox row is also the step's outbox. Done in one round trip, and one commit.
HANDLE = """
    WITH fresh AS (
        INSERT INTO inbox (event_id, order_id, emitted)
        SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::json[])
        ON CONFLICT DO NOTHING RETURNING order_id
    ), done AS (
        INSERT INTO effect (order_id) SELECT order_id FROM fresh
    )
    SELECT count(*) FROM fresh
"""
PLACE = """
    WITH new AS (
        INSERT INTO placed (at) SELECT clock_timestamp() FROM generate_series(1, %s) RETURNING id
    ), event AS MATERIALIZED (
        SELECT id, gen_random_uuid() AS event_id FROM new
    ), sent AS (
        INSERT INTO outbox (event_id, order_id, payload)
        SELECT event_id, id, (%s::jsonb || jsonb_build_object('event_id', event_id, 'order_id', id))::json FROM event
    )
    SELECT min(id), max(id) FROM new
"""
CHECKOUT = {  # as large as the shop's, whose address is sealed
    "type": "OrderCreated",
    "caused_by": None,
    "trace": "",
    "checkout": {
        "user_id": 1000001,
        "amount": 33000,
        "currency": "KRW",
        "payment_gateway": "TOSS_PAYMENTS",
        "payment_token": "tok_ok",
        "lines": [{"product_id": 1000001, "quantity": 1}],
        "address": 160 * "x",
    },
}
HANDLED = "SELECT emitted::text FROM inbox WHERE event_id = ANY(%s::uuid[])"


class Worker:
    """Handles all four steps, one message after another."""

    def __init__(self) -> None:
        self._databases = {service: psycopg2.connect(os.environ[f"FLOOR_{service.upper()}"]) for service in NEXT}
        for database in self._databases.values():
            database.autocommit = True  # one statement is one transaction
        self._broker = connected()
        self._channel = self._broker.channel()
        self._channel.basic_qos(0, 1, False)
        for service in NEXT:
            self._channel.basic_consume(
                QUEUE.format(service), callback=lambda message, to=service: self.on(to, message)
            )
        # A separate connection: no message must arrive while it waits for a confirm.
        self._publisher = connected().channel()

    def run(self, *, relay: bool) -> None:
        due = 0.0
        while True:
            if relay and time.monotonic() >= due and not self.relay():
                due = time.monotonic() + PAUSE
            with suppress(socket.timeout):
                self._broker.drain_events(timeout=PAUSE if relay else 1)

    def on(self, service: str, message: Any) -> None:
        events = msgspec.json.decode(message.body)
        ids = [event["event_id"] for event in events]
        followers = [follower(event) for event in events]
        values = [ids, [event["order_id"] for event in events], [one.decode() for one in followers]]
        with self._databases[service].cursor() as cursor:
            cursor.execute(HANDLE, values)
            if cursor.fetchone()[0] < len(events):  # some are redelivered: publish what was emitted then
                cursor.execute(HANDLED, [ids])
                followers = [emitted.encode() for (emitted,) in cursor.fetchall()]
        self.publish(NEXT[service], followers)
        message.channel.basic_ack(message.delivery_tag)

    def publish(self, service: str | None, events: Sequence[bytes]) -> None:
        """Publish one message and wait for the confirm."""
        if service:
            message = amqp.Message(b"[" + b",".join(events) + b"]", delivery_mode=2)
            self._publisher.basic_publish_confirm(message, routing_key=QUEUE.format(service), mandatory=True)

    def relay(self) -> int:
        """Publish a batch of the outbox; return the number of events."""
        orders = self._databases["orders"]
        with orders.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(CLAIM, [LIMIT])
            if rows := cursor.fetchall():
                self.publish("inventory", [payload.encode() for _, payload in rows])
                cursor.execute(MARK, [[event_id for event_id, _ in rows]])
            cursor.execute("COMMIT")
        return len(rows)


def follower(event: dict[str, Any]) -> bytes:
    """Return the follow-up of an event, as large as the shop's."""
    return msgspec.json.encode({**event, "event_id": uuid7(), "caused_by": event["event_id"]})


def connected() -> amqp.Connection:
    url = urlsplit(os.environ["BROKER_URL"])
    broker = amqp.Connection(
        f"{url.hostname}:{url.port or 5672}",
        userid=url.username or "guest",
        password=url.password or "guest",
        virtual_host=url.path.lstrip("/") or "/",
        confirm_publish=True,
    )
    broker.connect()
    return broker


def declare() -> None:
    """Declare the queues before the workers start, which would declare them concurrently."""
    with connected() as broker, broker.channel() as channel:
        for service in NEXT:
            arguments = {"x-queue-type": "quorum"}
            channel.queue_declare(QUEUE.format(service), durable=True, auto_delete=False, arguments=arguments)


def place() -> None:
    """Place orders with their outbox rows, and answer [first id, last id, the database's time]."""
    orders = psycopg2.connect(os.environ["FLOOR_ORDERS"])
    orders.autocommit = True
    declare()
    for line in sys.stdin:
        with orders.cursor() as cursor:
            cursor.execute(PLACE, [int(line.split()[1]), msgspec.json.encode(CHECKOUT).decode()])
            first, last = cursor.fetchone()
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
            print(json.dumps([first, last, cursor.fetchone()[0]]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["place"]:
        place()
    else:
        Worker().run(relay=sys.argv[1:] == ["relay"])

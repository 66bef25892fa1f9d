"""What a supervisor sees of worker, relay and beat as they run: that they are alive, and that they end when asked."""

import re
import socket
from pathlib import Path

import httpx
from django.db import connections, transaction

from inventory.models import Inbox, Reservation
from sagas.relay import publish_outbox
from supervision import TOLD_TO_END_BUT_STILL_AT_WORK
from tests.support.processes import eventually
from tests.support.running_shop import Shop, stock_of

GRACE = 0.5  # seconds


def test_they_show_that_they_are_alive_and_end_in_time_whatever_they_wait_for(shop: Shop, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    heartbeats = {name: tmp_path / name for name in ("worker", "relay", "beat")}
    told = {name: {"HEARTBEAT_FILE": str(path), "SHUTDOWN_GRACE": str(GRACE)} for name, path in heartbeats.items()}
    worker = shop.processes.worker("supervised", queues=("inventory",), **told["worker"])
    relay = shop.processes.relay("supervised-relay", **told["relay"])
    beat = shop.processes.beat("supervised-beat", **told["beat"], METRICS_PORT=str(port))

    def all_alive() -> bool:
        return all(path.exists() and int(path.read_text()) > 0 for path in heartbeats.values())

    def last_tick() -> float:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        (found,) = re.findall(r"^shop_beat_last_tick_timestamp_seconds (\S+)$", text, re.MULTILINE)
        return float(found)

    eventually(all_alive)
    seen = heartbeats["worker"].read_text()
    eventually(lambda: heartbeats["worker"].read_text() != seen)
    eventually(last_tick)
    shop.processes.stop(relay, beat)

    order_id = shop.place(2)
    with transaction.atomic(using="inventory"):
        connections["inventory"].cursor().execute(f"LOCK TABLE {Reservation._meta.db_table} IN ACCESS EXCLUSIVE MODE")
        publish_outbox("orders")

        def waits_for_the_lock() -> bool:
            with connections["inventory"].cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return bool(cursor.fetchone()[0])

        eventually(waits_for_the_lock)
        worker.tell_to_stop()
        assert worker.ends(timeout=15) == TOLD_TO_END_BUT_STILL_AT_WORK
    assert "Ended after 0.5 s with work in hand" in worker.log
    assert not Inbox.objects.filter(correlation_id=order_id).exists()

    another = shop.processes.worker("another", queues=("inventory",))
    eventually(lambda: stock_of(shop.products[0]) == (10, 2))
    shop.processes.stop(another)

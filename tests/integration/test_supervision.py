"""What a supervisor sees of worker, relay and beat as they run: that they are alive, and that they end when asked."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from django.db import connections, transaction

from inventory.models import Inbox, Reservation, Unsent
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
    shop.processes.stop(beat)

    order_id = shop.place(2)
    with transaction.atomic(using="inventory"):
        cursor = connections["inventory"].cursor()
        for table in (Reservation._meta.db_table, Unsent._meta.db_table):
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        publish_outbox("orders")

        def both_wait_for_a_lock() -> bool:
            cursor.execute("SELECT count(DISTINCT relation) FROM pg_locks WHERE NOT granted")
            return bool(cursor.fetchone()[0] == 2)

        eventually(both_wait_for_a_lock)
        worker.tell_to_stop()
        relay.tell_to_stop()
        assert worker.ends(timeout=15) == relay.ends(timeout=15) == TOLD_TO_END_BUT_STILL_AT_WORK
    assert "Ended after 0.5 s with work in hand" in worker.log
    assert not Inbox.objects.filter(correlation_id=order_id).exists()

    another = shop.processes.worker("another", queues=("inventory",), SHUTDOWN_GRACE=str(GRACE))
    eventually(lambda: stock_of(shop.products[0]) == (10, 2))

    last = shop.place(3)
    with away("inventory"):
        publish_outbox("orders")
        another.says("Waiting: ")
        another.tell_to_stop()
        assert another.ends(timeout=15) == TOLD_TO_END_BUT_STILL_AT_WORK
    assert not Inbox.objects.filter(correlation_id=last).exists()


@contextmanager
def away(service: str) -> Iterator[None]:
    """Within the block nobody gets into a service's database."""
    name = connections[service].settings_dict["NAME"]
    connections[service].close()
    with connections["accounts"]._nodb_cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')

"""The heartbeat of workers, relays and beat. tests/integration/test_supervision.py sees them write it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.beat import Scheduler as CelerysScheduler
from celery.beat import SchedulingError

import supervision
import supervision.beat
from sagas.conf import choreography
from shop.observability.metrics import LAST_TICK
from supervision.beat import Scheduler
from supervision.worker import Consumer
from tests.support.processes import ROOT

TIMERS = choreography().timers


@pytest.fixture
def heartbeat(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(supervision, "_next", 0.0)
    path = tmp_path / "alive"
    settings.HEARTBEAT_FILE = str(path)
    return path


class Away:
    """A connection to a broker that comes back after a while."""

    def __init__(self) -> None:
        self.alt = None

    def ensure_connection(
        self, errback: Callable[..., None], max_retries: Any, callback: Callable[[], None] | None = None
    ) -> "Away":
        assert callback
        callback()
        errback(ConnectionRefusedError(), 2.0)
        return self

    def as_uri(self) -> str:
        return "amqp://away"


def test_it_is_the_time_since_the_machine_was_started(heartbeat: Path):
    supervision.alive()

    up = float(Path("/proc/uptime").read_text().split()[0])
    assert up - 5 < int(heartbeat.read_text()) <= up + 1
    assert list(heartbeat.parent.iterdir()) == [heartbeat]


def test_it_is_written_once_in_a_while(heartbeat: Path, monkeypatch: pytest.MonkeyPatch):
    supervision.alive()
    heartbeat.unlink()
    supervision.alive()
    assert not heartbeat.exists()

    later = time.monotonic() + supervision.EVERY
    monkeypatch.setattr(supervision.time, "monotonic", lambda: later)
    supervision.alive()
    assert heartbeat.exists()


def test_without_a_file_nothing_is_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervision, "_next", 0.0)
    monkeypatch.setattr(Path, "write_text", None)
    supervision.alive()


HANGS = """
import time, django
django.setup()
import supervision
def work():
    supervision.HANGS_AFTER = 0.2
    supervision.watch()
    time.sleep(60)
work()
"""


def test_a_process_that_hangs_says_where_and_ends():
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 1
    assert re.search(r'File "<string>", line 8 in work$', done.stderr, re.MULTILINE)


def test_nothing_is_ended_that_nobody_watches(monkeypatch: pytest.MonkeyPatch):
    ends: list[float] = []
    monkeypatch.setattr(supervision.faulthandler, "dump_traceback_later", lambda after, **_: ends.append(after))
    monkeypatch.setattr(supervision, "_watched", False)
    monkeypatch.setattr(supervision, "_next", 0.0)
    monkeypatch.setattr(supervision, "EVERY", 0.0)
    supervision.alive()
    assert ends == []

    supervision.watch()
    supervision.alive()
    assert ends == [supervision.HANGS_AFTER] * 2


def test_a_worker_without_a_broker_is_alive(heartbeat: Path):
    consumer = Consumer.__new__(Consumer)
    consumer.app, consumer.first_connection_attempt, consumer.broker_connection_retry_attempt = current_app, True, 0
    connection = Away()

    assert consumer.ensure_connected(connection) is connection
    assert heartbeat.exists()


def test_beat_without_a_broker_is_alive(heartbeat: Path):
    scheduler = Scheduler(current_app, lazy=True)
    scheduler.__dict__["connection"] = connection = Away()

    assert scheduler._ensure_connected() is connection
    assert heartbeat.exists()


def test_each_timer_ticks_at_the_start_and_then_at_its_interval(monkeypatch: pytest.MonkeyPatch):
    now, sent = 100.0, list[str]()
    monkeypatch.setattr(supervision.beat, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(supervision.beat, "watch", lambda: None)  # it would end this process
    scheduler = Scheduler(current_app, Producer=lambda *_, **__: None)
    scheduler.__dict__["connection"] = Away()
    monkeypatch.setattr(scheduler, "apply_entry", lambda entry, producer: sent.append(entry.name))

    assert scheduler.tick() == min(TIMERS.values())
    assert sorted(sent) == sorted(TIMERS)

    sent.clear()
    assert scheduler.tick() == min(TIMERS.values())
    assert sent == []

    now += 1.0
    scheduler.tick()
    assert sorted(sent) == sorted(name for name, seconds in TIMERS.items() if seconds <= 1)


def test_only_a_tick_that_was_sent_counts(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise SchedulingError

    before = LAST_TICK._value.get()
    scheduler = Scheduler(current_app, lazy=True)
    monkeypatch.setattr(CelerysScheduler, "apply_async", refuse)
    with pytest.raises(SchedulingError):
        scheduler.apply_async(None)
    assert LAST_TICK._value.get() == before

    monkeypatch.setattr(CelerysScheduler, "apply_async", lambda *_, **__: "sent")
    assert scheduler.apply_async(None) == "sent"
    assert LAST_TICK._value.get() == pytest.approx(time.time(), abs=60)

"""What a benchmark needs around it, made before and gone after it: databases, queues, and the shop's own processes."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psycopg2
from amqp.exceptions import NotFound
from kombu import Connection
from psycopg2 import sql

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("accounts", "catalog", "orders", "inventory", "payments", "delivery", "notifications")
QUEUES = ("orders", "inventory", "payments", "delivery", "notifications")
PATIENCE = 30  # seconds that a process may take to end when told to


class Unfit(Exception):
    """The benchmark cannot run here, or its run proves nothing; the text says why."""


def refuse_unfit_surroundings() -> None:
    """Raises `Unfit` unless real servers are named and nobody else uses their queues."""
    for name, scheme in (
        ("DATABASE_URL", "postgres"),
        ("BROKER_URL", "amqp"),
        ("LOCKS_URL", "redis"),
        ("CACHE_URL", "redis"),
    ):
        value = os.environ.get(name, "")
        if not urlsplit(value).scheme.startswith(scheme):
            named = f"{name} is {value.partition(':')[0]}:…" if value else f"{name} is not set"
            raise Unfit(f"This measures the real servers, and {named}. `make bench` finds or starts them.")
    with Connection(os.environ["BROKER_URL"], connect_timeout=4) as broker:
        for queue in QUEUES:
            try:
                found = broker.channel().queue_declare(queue, passive=True)
            except NotFound:
                continue
            if found.consumer_count or found.message_count:
                raise Unfit(f"The queue {queue} of this vhost is in use. `make bench` takes a vhost of its own.")


@contextmanager
def own_databases() -> Iterator[None]:
    """Seven migrated databases, and the environment that makes this process and its children use them."""
    prefix = f"{os.environ.get('DATABASE_PREFIX', 'shop_')}bench{os.getpid()}_"
    for service in SERVICES:
        os.environ.pop(f"{service.upper()}_DATABASE_URL", None)
    os.environ |= {
        "DATABASE_PREFIX": prefix,
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "DEBUG": "0",  # which keeps every statement in memory
        "SECRET_KEY": secrets.token_urlsafe(48),
        "EMAIL_URL": "dummymail:",
        "STALLED_AFTER": "3600",  # a backlog is no stall
    }
    try:
        migrate = [sys.executable, "manage.py", "migrate_all"]  # creates them, too
        migrated = subprocess.run(migrate, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if migrated.returncode:
            raise Unfit(f"`manage.py migrate_all` failed:\n{migrated.stdout}")
        yield
    finally:
        server = psycopg2.connect(os.environ["DATABASE_URL"].rstrip("/") + "/postgres", connect_timeout=4)
        server.autocommit = True  # DROP DATABASE refuses to run in a transaction
        with server.cursor() as cursor:
            for service in SERVICES:
                name = sql.Identifier(prefix + service)
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        server.close()


@contextmanager
def own_queues() -> Iterator[None]:
    """Afterwards the queues are gone, with whatever an interrupted run left in them."""
    try:
        yield
    finally:
        with Connection(os.environ["BROKER_URL"], connect_timeout=4) as broker:
            for queue in QUEUES:
                broker.channel().queue_delete(queue)
                broker.channel().queue_delete(f"{queue}.dead")


class Processes:
    """A relay and Celery workers for all queues. As in Procfile but fewer: they share the machine with the servers."""

    def __init__(self, limit: int, *, workers: int, concurrency: int, pool: str) -> None:
        self._commands = {"relay": [sys.executable, "manage.py", "relay"]}
        for number in range(workers):
            self._commands[f"worker {number + 1}"] = [
                *(sys.executable, "-m", "celery", "-A", "shop", "worker", "-l", "WARNING"),
                *("-Q", ",".join(QUEUES), "-n", f"bench{number}@%h", "-P", pool, "-c", str(concurrency)),
            ]
        self._environment = os.environ | {"BATCH_LIMIT": str(limit)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the block)

    def __enter__(self) -> Self:
        for name, command in self._commands.items():
            # A session of its own: Ctrl-C reaches us alone, and we end the process when we are ready to.
            self._running[name] = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=self._log, stderr=self._log, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(5 if error else PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its children, too
                process.wait()
        self._log.close()

    def must_run(self) -> None:
        """Raises `Unfit` when one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise Unfit(f"The {name} ended with {process.returncode}:\n{self.log()}")

    def log(self) -> str:
        """The end of what they have written."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

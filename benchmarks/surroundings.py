"""A benchmark's temporary surroundings: databases, queues, and the shop's own processes."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg2
from amqp.exceptions import NotFound
from kombu import Connection
from psycopg2 import sql

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("accounts", "catalog", "orders", "inventory", "payments", "delivery", "notifications")
QUEUES = ("orders", "inventory", "payments", "delivery", "notifications")
LIMIT = 800  # events in a message, at most: the shop's default, for the floor as well
PATIENCE = 30  # seconds that a process may take to end when told to


class Unfit(Exception):
    """The benchmark cannot run here, or its result is invalid; the text says why."""


def refuse_unfit_surroundings() -> None:
    """Raise `Unfit` unless real servers are configured and their queues are not in use."""
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
    """Create seven migrated databases, and make this process and its children use them."""
    with shop_databases() as environment:
        os.environ |= environment
        yield


@contextmanager
def shop_databases(name: str = "") -> Iterator[dict[str, str]]:
    """Create seven migrated databases, and drop them afterwards; yield the environment that names them."""
    prefix = f"{os.environ.get('DATABASE_PREFIX', 'shop_')}bench{os.getpid()}_{name}"
    for service in SERVICES:
        os.environ.pop(f"{service.upper()}_DATABASE_URL", None)
    environment = {
        "DATABASE_PREFIX": prefix,
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "SANDBOX": "1",
        "DEBUG": "0",  # which keeps every statement in memory
        "SECRET_KEY": secrets.token_urlsafe(48),
        "EMAIL_URL": "dummymail:",
        "STALLED_AFTER": "3600",  # a backlog is no stall
    }
    try:
        migrated = subprocess.run(
            [sys.executable, "manage.py", "migrate_all"],  # creates them, too
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if migrated.returncode:
            raise Unfit(f"`manage.py migrate_all` failed:\n{migrated.stdout}")
        yield environment
    finally:
        with administration() as cursor:
            for service in SERVICES:
                named = sql.Identifier(prefix + service)
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(named))


@contextmanager
def own_queues(*others: str) -> Iterator[None]:
    """Delete the shop's queues and the others after the block, with any messages left in them."""
    try:
        yield
    finally:
        with Connection(os.environ["BROKER_URL"], connect_timeout=4) as broker:
            for queue in (*QUEUES, *(f"{queue}.dead" for queue in QUEUES), *others):
                broker.channel().queue_delete(queue)


@contextmanager
def own_database(name: str, schema: str = "") -> Iterator[str]:
    """Create a database with its tables for one of the compared systems, and drop it afterwards; yield its URL."""
    server = os.environ["DATABASE_URL"].rstrip("/")
    named = f"{os.environ.get('DATABASE_PREFIX', 'shop_')}bench{os.getpid()}_{name}"
    with administration() as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(named)))
    try:
        if schema:
            with psycopg2.connect(f"{server}/{named}") as connection, connection.cursor() as cursor:
                cursor.execute(schema)
            connection.close()
        yield f"{server}/{named}"
    finally:
        with administration() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(named)))


@contextmanager
def administration() -> Iterator[Any]:
    """Yield a cursor on the maintenance database, for statements that cannot run in a transaction."""
    server = psycopg2.connect(os.environ["DATABASE_URL"].rstrip("/") + "/postgres", connect_timeout=4)
    server.autocommit = True
    try:
        with server.cursor() as cursor:
            yield cursor
    finally:
        server.close()


class Helper:
    """A process that executes commands, line by line, and answers each with a line of JSON."""

    title = "A process that helps to measure"

    def __init__(self, *command: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone; it ends with its standard input
        )
        self.pid = self._process.pid

    def ask(self, line: str) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            answer = ""
        else:
            answer = self._process.stdout.readline()
        if not answer:
            raise Unfit(f"{self.title} has died; see above.")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Generator(Helper):
    """Places orders."""

    title = "What places the orders"


class Processes:
    """Processes that run during a block, and their output."""

    def __init__(self, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
        self._commands = commands
        self._environment = os.environ | environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the block)

    def __enter__(self) -> Self:
        for name, command in self._commands.items():
            # In its own session: Ctrl-C reaches only us, and we end the process when we are ready.
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

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._running.values()]

    @property
    def named(self) -> dict[str, list[int]]:
        return {name: [process.pid] for name, process in self._running.items()}

    def must_run(self) -> None:
        """Raise `Unfit` if one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise Unfit(f"The {name} ended with {process.returncode}:\n{self.log()}")

    def log(self) -> str:
        """Return the end of their output."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]


def shop_processes(
    environment: Mapping[str, str],
    *,
    limit: int = LIMIT,
    concurrency: int = 4,
    nodes: Sequence[str] = ("",),
    carrier: bool = True,
) -> Processes:
    """A relay, what takes the parcels, and on each node a Celery worker for all queues. As in Procfile but fewer: they
    share the machine with the servers. Twice as many children as the two cores that the benchmarks are made for: about
    half of them wait for a server. A node is the name of a network namespace, "" for ours."""
    commands = {"relay": [sys.executable, "manage.py", "relay"]}
    if carrier:
        commands["carrier"] = [sys.executable, "-m", "benchmarks.carrier"]
    for number, node in enumerate(nodes):
        commands[f"worker {number + 1}"] = [
            *(("ip", "netns", "exec", node) if node else ()),
            *(sys.executable, "-m", "celery", "-A", "shop", "worker", "-l", "WARNING"),
            *("-Q", ",".join(QUEUES), "-n", f"bench{number}@%h", "-c", str(concurrency)),
        ]
    return Processes(commands, {**environment, "BATCH_LIMIT": str(limit)})

"""Examines what the shop needs: versions, port, databases, clock, broker, Redis, keys, disk."""

import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple
from urllib.parse import urlsplit

from celery import current_app
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from sagas.conf import conf
from sagas.db.prepared import query
from sagas.outages import OUTAGES
from sagas.registry import local_services
from sagas.topology import dead_letter_queues, queues
from shop import __version__
from shop.contracts.payments import ADAPTERS
from shop.operations.connections import FIX, budgets
from shop.router import database_of

PACKAGES = ("django", "celery", "kombu", "djangorestframework", "psycopg2-binary", "redis", "flower")
PYTHON = (3, 11)
POSTGRESQL = 14  # the oldest version that works
RABBITMQ = (3, 10)  # the oldest with at-least-once dead-lettering
SKEW = 1.0  # seconds of harmless clock skew between this machine and PostgreSQL
DISK = 1_000_000_000  # bytes that should be free
TIMEOUT = 2  # seconds


class Finding(NamedTuple):
    """One line of the result. `well` is None for what cannot be examined from here."""

    what: str
    well: bool | None
    detail: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Run all examinations. An exception becomes a finding and does not stop the others."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions, _mode, _port, _databases, _connections, _clock, _broker, _redis, _keys, _gateways, _disk, _webhooks,
    )  # fmt: skip
    for look in looks:
        try:
            yield from look()
        except Exception as error:  # a doctor that crashes is of no use
            yield Finding(look.__name__.strip("_"), False, f"{type(error).__name__}: {_line(error)}")


def _versions() -> Iterator[Finding]:
    try:
        told = ", ".join([f"shop {__version__}", *(f"{name} {version(name)}" for name in PACKAGES)])
    except PackageNotFoundError as missing:
        yield Finding("packages", False, f"{missing.name} is missing", "make .venv/.runtime")
    else:
        yield Finding("packages", True, told)
    here = sys.version_info[:2]
    fix = "" if here == PYTHON else "use Python 3.11, which everything is locked for"
    yield Finding("python", here == PYTHON, sys.version.split()[0], fix)


def _mode() -> Iterator[Finding]:
    mode = "embedded" if settings.EMBEDDED else settings.SHOP_SERVICE or "all services together"
    yield Finding("mode", True, f"{mode}{', debug' if settings.DEBUG else ''}; data in {settings.VAR_DIR}")


def _port() -> Iterator[Finding]:
    with socket.socket() as client:
        client.settimeout(TIMEOUT)
        taken = client.connect_ex(("127.0.0.1", settings.PORT)) == 0
    yield Finding("port", True, f"{settings.PORT} is {'in use: the shop, or PORT=… for another' if taken else 'free'}")


# --- Databases ------------------------------------------------------------------------------------------------------
def _databases() -> Iterator[Finding]:
    if settings.EMBEDDED and not (settings.VAR_DIR / "postgres").exists():
        yield Finding("databases", None, "embedded: make up makes them")
        return
    for service in settings.LOCAL_SERVICES:
        yield _database(service)


def _database(service: str) -> Finding:
    name = connections[service].settings_dict["NAME"]
    makes = "make up" if settings.EMBEDDED else "manage.py migrate_all"
    try:  # embedded, this starts PostgreSQL unless it runs; it ends with the last process that uses it
        ((number, shown),) = query(
            service, "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version')"
        )
    except DatabaseError as error:
        variable = "DATABASE_URL" if not settings.SHOP_SERVICE else f"{service.upper()}_DATABASE_URL"
        return Finding(
            service,
            False,
            f"database {name}: {_line(error)}",
            f"{makes} makes it" + ("" if settings.EMBEDDED else f", or set {variable}"),
        )
    if number < POSTGRESQL:
        return Finding(service, False, f"PostgreSQL {shown}", f"PostgreSQL {POSTGRESQL} or newer")
    if not _is_migrated(service):
        return Finding(service, False, f"database {name} lacks migrations", makes)
    return Finding(service, True, f"database {name}, PostgreSQL {shown.split()[0]}, migrated")


def _is_migrated(service: str) -> bool:
    executor = MigrationExecutor(connections[service])
    labels = {app.label for app in apps.get_app_configs() if database_of(app.label) == service}
    return not executor.migration_plan([key for key in executor.loader.graph.leaf_nodes() if key[0] in labels])


def _connections() -> Iterator[Finding]:
    for server, most, allowed, used in budgets():
        fits = most <= allowed
        yield Finding(
            "connections", fits, f"{most} at the most, {used} now, of {allowed} at {server}", "" if fits else FIX
        )


def _clock() -> Iterator[Finding]:
    if settings.EMBEDDED:
        return
    try:
        ((theirs,),) = query(settings.LOCAL_SERVICES[0], "SELECT EXTRACT(EPOCH FROM clock_timestamp())")
    except DatabaseError:
        yield Finding("clock", None, "PostgreSQL cannot be asked for the time")
        return
    off = abs(time.time() - float(theirs))
    fix = "" if off <= SKEW else "synchronise the clocks (NTP): what is due, tokens and signed calls go by them"
    yield Finding("clock", off <= SKEW, f"{off:.2f} s from PostgreSQL's", fix)


# --- Broker, Redis --------------------------------------------------------------------------------------------------
def _broker() -> Iterator[Finding]:
    if settings.BROKER_URL.startswith("memory:"):
        yield Finding("broker", None, "in memory: its queues are in the process of make up, and cannot be seen")
        return
    try:
        with current_app.connection_for_write(connect_timeout=TIMEOUT) as connection:
            connection.ensure_connection(max_retries=1, timeout=TIMEOUT, interval_start=0.1)
            properties = connection.connection.server_properties
            shown = properties.get("version", "0")
            enough = tuple(map(int, shown.split(".")[:2])) >= RABBITMQ
            fix = "" if enough else f"RabbitMQ {RABBITMQ[0]}.{RABBITMQ[1]} or newer"
            yield Finding("broker", enough, f"{properties.get('product', '')} {shown}", fix)
            for service in local_services():
                yield _queue(connection, service)
    except OUTAGES as error:
        yield Finding("broker", False, _line(error), "start RabbitMQ, or set BROKER_URL (make services prints one)")


def _queue(connection: object, service: str) -> Finding:
    what, fix = f"queue {service}", "start a worker or a relay: whoever connects first declares them"
    fix = fix if conf().declares else "manage.py broker makes them"
    try:
        with connection.channel() as channel:  # type: ignore[attr-defined]
            told = channel.queue_declare(service, passive=True)
            dead = channel.queue_declare(f"{service}.dead", passive=True).message_count
            fix = "its limits or dead-lettering are not ours: let it drain, delete it, and start a worker"
            for queue in (*queues(), *dead_letter_queues()):
                if conf().declares and queue.name in (service, f"{service}.dead"):
                    queue(channel).queue_declare()  # exists, so this only compares the arguments
    except connection.channel_errors as error:  # type: ignore[attr-defined]
        return Finding(what, False, _line(error), fix)
    detail = f"{told.message_count} waiting, {told.consumer_count} consumers, {dead} in {service}.dead"
    if not told.consumer_count:
        return Finding(what, False, detail, f"celery -A shop worker -Q {service} -n {service}@%h --concurrency 1")
    if dead:
        return Finding(what, False, detail, "start its relay, which collects them: manage.py deadletters")
    return Finding(what, True, detail)


def _redis() -> Iterator[Finding]:
    for alias, variable in (("locks", "LOCKS_URL"), ("default", "CACHE_URL")):
        if "CONNECTION_POOL_KWARGS" in settings.CACHES[alias]["OPTIONS"]:
            yield Finding(f"redis {alias}", None, "a fake within each process")
            continue
        try:
            told = get_redis_connection(alias).info("server")["redis_version"]
        except (RedisError, OSError) as error:
            yield Finding(f"redis {alias}", False, _line(error), f"start Redis, or set {variable}")
        else:
            yield Finding(f"redis {alias}", True, f"Redis {told}")
    if settings.CACHES["locks"]["LOCATION"] == settings.CACHES["default"]["LOCATION"] and not settings.EMBEDDED:
        yield Finding("redis", False, "locks and cache share a database", "another number in CACHE_URL: clearing drops")


# --- Keys, disk -----------------------------------------------------------------------------------------------------
def _keys() -> Iterator[Finding]:
    if settings.DEBUG:
        yield Finding("keys", True, "made for development, as DEBUG is on")
        return
    signs = "signs tokens" if settings.SIMPLE_JWT["SIGNING_KEY"] else "only checks tokens"
    yield Finding("keys", True, f"long enough, or nothing would start; this process {signs}")


def _gateways() -> Iterator[Finding]:
    """Payment providers: what is missing, and whether they can be reached from here."""
    for name, configured in settings.PAYMENT_GATEWAYS.items() if "payments" in settings.LOCAL_SERVICES else ():
        adapter = ADAPTERS[configured.adapter]
        what = f"gateway {name}"
        if missing := [f"GATEWAY_{name}_{one.upper()}" for one in adapter.wants if not configured.options.get(one)]:
            yield Finding(what, False, f"lacks {', '.join(missing)}", "set it, or a file that has it: …_FILE")
        elif adapter.wants:
            yield _reached(what, configured.options.get("url") or import_string(adapter.path).url)


def _reached(what: str, url: str) -> Finding:
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=TIMEOUT):
            return Finding(what, True, f"{url} can be reached")
    except OSError as error:
        return Finding(what, False, f"{url}: {_line(error)}", "let payments reach it, or check whether it is down")


def _disk() -> Iterator[Finding]:
    place = next(path for path in (settings.VAR_DIR, *settings.VAR_DIR.parents) if path.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / 1e9:.1f} GB free at {settings.VAR_DIR}"
    yield Finding("disk", free >= DISK, detail, "" if free >= DISK else "make room, or set SHOP_VAR")


def _webhooks() -> Iterator[Finding]:
    if "notifications" not in settings.LOCAL_SERVICES or (
        settings.EMBEDDED and not (settings.VAR_DIR / "postgres").exists()
    ):
        return
    try:
        ((number, dead),) = query(
            "notifications",
            "SELECT count(*), count(*) FILTER (WHERE NOT enabled AND disabled_reason <> '') FROM notifications_webhook",
        )
    except DatabaseError:  # the database has a finding of its own
        return
    fix = (
        "see why in the admin (Webhooks), have the receiver fixed, enable it: missed events are then sent"
        if dead
        else ""
    )
    yield Finding("webhooks", not dead, f"{number} subscriptions, {dead} of them dead", fix)


def _line(error: BaseException) -> str:
    """The first line of an error's message, without what precedes its reason."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rpartition("FATAL:  ")[2]

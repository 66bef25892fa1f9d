"""The broker's users and their permissions: a user for each service, with no more than its part in the saga needs.

A service reads its own queue, and writes to the queues of the services that hear its events. Only an administrator may
declare or delete a queue. Events for Flower go to Celery's exchange for them, which a worker declares itself.
"""

import os
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import httpx
from django.conf import settings

from sagas.conf import choreography
from sagas.saga import service_of
from sagas.topology import dead_letter_queues, queues
from shop.contracts.events import origin

TASK_EVENTS = "celeryev"  # Celery's exchange for the workers' events
# Flower reads them from a queue of its own, and sends commands, which workers ignore unless REMOTE_CONTROL is on.
WATCHING = rf"^({TASK_EVENTS}(\..+)?|(.+\.)?(reply\.)?celery\.pidbox)$"
TIMEOUT = 30  # seconds


class Rights(NamedTuple):
    """Regular expressions: the queues and exchanges that a user may declare or delete, write to, and read."""

    configure: str
    write: str
    read: str


def rights() -> dict[str, Rights]:
    """The permissions of each broker user, by its name without the prefix.

    A service that takes part in no saga needs no user. The back office replays dead letters and beat sends ticks, so
    both write to every queue.
    """
    services = choreography().services
    everywhere = Rights(_only(()), _only(services), _only(()))
    return {
        **{service: _of_service(service) for service in services},
        "office": everywhere,
        "beat": everywhere,
        "flower": Rights(WATCHING, WATCHING, WATCHING),
    }


def _of_service(service: str) -> Rights:
    followers = {
        service_of(step)
        for event, steps in choreography().heard_by.items()
        for step in steps
        if origin(event) == service
    }
    return Rights(_only([TASK_EVENTS]), _only([*followers, TASK_EVENTS]), _only([service, f"{service}.dead"]))


def _only(names: Collection[str]) -> str:
    """Return a regular expression for these names; RabbitMQ takes the empty one as no permission at all."""
    return f"^({'|'.join(re.escape(name) for name in sorted(names))})$" if names else ""


def definitions(vhost: str, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return the definitions for RabbitMQ to import: users with their permissions, queues with their exchanges.

    Importing them again resets passwords and permissions, and changes nothing else. `passwords` has one for each user
    of `rights()`; only their hashes are in the result.
    """
    declared: list[Any] = [*queues(), *dead_letter_queues()]
    at = {"vhost": vhost}
    exchanges = {queue.exchange.name: queue.exchange for queue in declared}
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": f"{settings.PREFIX}{user}",
                "password_hash": _hashed(passwords[user]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
            }
            for user in rights()
        ],
        "permissions": [{"user": f"{settings.PREFIX}{user}", **at, **may._asdict()} for user, may in rights().items()],
        "exchanges": [
            {"name": name, **at, "type": exchange.type, "durable": True, "auto_delete": False, "internal": False,
             "arguments": {}}
            for name, exchange in exchanges.items()
        ],
        "queues": [
            {"name": queue.name, **at, "durable": True, "auto_delete": False, "arguments": queue.queue_arguments}
            for queue in declared
        ],
        "bindings": [
            {"source": queue.exchange.name, **at, "destination": queue.name, "destination_type": "queue",
             "routing_key": queue.routing_key, "arguments": {}}
            for queue in declared
        ],
    }  # fmt: skip


def _hashed(password: str) -> str:
    """Hash a password as RabbitMQ stores it: a salt of four bytes, and the SHA-256 of salt and password."""
    salt = os.urandom(4)
    return b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def missing(passwords: Mapping[str, str]) -> Iterable[str]:
    """Return the environment variables of passwords that are not set."""
    return [f"{user.upper()}_BROKER_PASSWORD" for user in rights() if not passwords.get(user)]


def send(url: str, told: Mapping[str, Any]) -> None:
    """Have the broker whose management API is at `url` (http://administrator:password@host:15672) import definitions.

    Raises `httpx.HTTPError` or `httpx.InvalidURL`.
    """
    httpx.post(f"{url.rstrip('/')}/api/definitions", json=told, timeout=TIMEOUT, trust_env=False).raise_for_status()

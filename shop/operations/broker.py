"""Who may do what at the broker: a user for each service, with what its part in the saga takes and no more.

A service reads its own queue, and writes to the queues of those who hear what it emits. Nobody but an administrator may
declare or delete a queue. What a worker tells Flower goes to Celery's exchange for that, which it declares itself.
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

TASK_EVENTS = "celeryev"  # Celery's exchange for what workers say of themselves
# Flower listens there with a queue of its own, and asks workers, who do not hear it unless REMOTE_CONTROL is on.
WATCHING = rf"^({TASK_EVENTS}(\..+)?|(.+\.)?(reply\.)?celery\.pidbox)$"
TIMEOUT = 30  # seconds


class Rights(NamedTuple):
    """Regular expressions: the queues and exchanges that a user may declare or delete, write to, and read."""

    configure: str
    write: str
    read: str


def rights() -> dict[str, Rights]:
    """The rights of each user of the broker, by its name without the prefix.

    A service that has no part in a saga needs no user. The back office replays dead letters, so it writes to every
    queue, and beat ticks in every queue.
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
    """A regular expression for these names; RabbitMQ reads the empty one as none at all."""
    return f"^({'|'.join(re.escape(name) for name in sorted(names))})$" if names else ""


def definitions(vhost: str, passwords: Mapping[str, str]) -> dict[str, Any]:
    """All of it, as RabbitMQ imports it: users and their permissions, queues with their exchanges. To import it again
    changes passwords and permissions to these, and nothing else.

    `passwords` has one for each user of `rights()`; only their hashes are in the answer.
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
    """As RabbitMQ keeps passwords: a salt of four bytes, and the SHA-256 of salt and password."""
    salt = os.urandom(4)
    return b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def missing(passwords: Mapping[str, str]) -> Iterable[str]:
    """The variables of passwords that are not set."""
    return [f"{user.upper()}_BROKER_PASSWORD" for user in rights() if not passwords.get(user)]


def send(url: str, told: Mapping[str, Any]) -> None:
    """Have the broker whose management API is at `url` (http://administrator:password@host:15672) import definitions.

    Raises `httpx.HTTPError` or `httpx.InvalidURL`.
    """
    httpx.post(f"{url.rstrip('/')}/api/definitions", json=told, timeout=TIMEOUT, trust_env=False).raise_for_status()

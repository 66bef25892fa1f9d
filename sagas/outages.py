"""What can go wrong around a step, and what is an outage: something that passes by itself."""

import amqp.exceptions
import kombu.exceptions
from django.db import InterfaceError, OperationalError, connections


class Unavailable(Exception):
    """Something outside this process is away for now: the same call may succeed later. Nothing was refused."""


class ForeignOrder(ValueError):
    """A step emitted an event for an order that is not in its batch, so it cannot be stored with what caused it."""


# A database that is away, restarting or resolving a deadlock; a broker that is away or did not confirm; a service.
# An error of the programmer's (a bad statement, a broken constraint) is none of these and is not waited for.
OUTAGES: tuple[type[Exception], ...] = (
    Unavailable,
    OperationalError,
    InterfaceError,
    kombu.exceptions.OperationalError,
    amqp.exceptions.AMQPError,
    amqp.exceptions.MessageNacked,
    ConnectionError,
    TimeoutError,
)


def drop_broken_connections() -> None:
    """Close this thread's database connections that no longer answer; the next statement opens new ones.

    What `close_old_connections` does, but for a connection within a transaction (a test's).
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()

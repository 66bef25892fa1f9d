"""Outages: transient errors, which the kernel waits out."""

import amqp.exceptions
import kombu.exceptions
from django.db import InterfaceError, OperationalError, connections


class Unavailable(Exception):
    """Something outside this process is away for now: the same call may succeed later. Nothing was refused."""


# A database that is away, restarting, read-only or resolving a deadlock (`sagas.db.postgresql` decides by SQLSTATE); a
# broker that is away or did not confirm; a service. A programming error is none of these and is not waited for.
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

    Like Django's `close_old_connections`, except that a connection inside a transaction (a test's) is left alone.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()

"""`ENGINE = "fastdb.postgresql"`: the kernel's backend, with three changes.

Health: Django asks the server with a `SELECT 1` for each request and database, a fifth of the time of reading an order.
But a server that ends a connection says so on it: while nothing has arrived, the connection is still usable. A server
that vanishes is detected by TCP keepalives, which the project sets in `OPTIONS`.

Time: a connection knows the server's clock (`fastdb.clock`).

Ends: a thread's connections are closed with the thread. Django's wrapper is part of a reference cycle, so they would
stay open until the next full garbage collection, and web servers end idle threads.
"""

import select
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

from sagas.db.postgresql import base

TRUSTED_FOR = 30.0  # seconds since it was last seen to be usable


class Opened:
    """Closes a thread's connections when the thread ends: nothing but the thread refers to this object."""

    def __init__(self) -> None:
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, connection: Any) -> None:
        self._connections.add(connection)

    def __del__(self) -> None:
        for connection in self._connections:
            connection.close()


_thread = threading.local()


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to a PostgreSQL server."""

    _connected_at = (datetime.min.replace(tzinfo=UTC), 0.0)  # by the server's clock, and by time.monotonic()
    _seen_at = 0.0  # when it was last seen to be usable, by time.monotonic()

    def connect(self) -> None:
        super().connect()
        if not hasattr(_thread, "opened"):
            _thread.opened = Opened()
        _thread.opened.add(self.connection)
        self._seen_at = asked_at = time.monotonic()  # before the query, so that this clock is never behind
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
            (moment,) = cursor.fetchone()
        self._connected_at = moment.replace(tzinfo=UTC), asked_at

    def server_time(self) -> datetime:
        """Return the server's time: that at which the connection was made, plus the time that has passed since."""
        moment, then = self._connected_at
        return moment + timedelta(seconds=time.monotonic() - then)

    def is_usable(self) -> bool:
        """Whether the next statement can be sent. The server is queried if it has sent anything by itself, and if it
        was not queried for a while: the connections of a peer that vanished stay quiet."""
        now = time.monotonic()
        trusted = now - self._seen_at < TRUSTED_FOR and self._is_quiet()
        usable = not self.refuses_writes and (trusted or super().is_usable())
        self._seen_at = now if usable else 0.0
        return usable

    def _is_quiet(self) -> bool:
        """Whether the connection is open as far as this side knows, and nothing from the server waits on it."""
        if self.connection is None or self.connection.closed or self.errors_occurred:
            return False
        waiting = select.poll()
        waiting.register(self.connection.fileno(), select.POLLIN)
        return not waiting.poll(0)

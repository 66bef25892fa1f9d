"""`ENGINE = "sagas.db.postgresql"`: Django's own backend, with three changes.

Health: Django asks the server with a `SELECT 1` for each request and database, a fifth of the time of reading an order.
But a server that ends a connection says so on it: while nothing has arrived there, it is as it was left. One that is
gone without a word is noticed by TCP keepalives, which the project sets in `OPTIONS`.

Errors: what is an outage is decided here, by SQLSTATE, and raised as `OperationalError`. psycopg2's classes decide
otherwise: a read-only server is its InternalError, a statement that is too complex its OperationalError.

Time: a connection knows the server's clock (`sagas.db.clock`).
"""

import select
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError, OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

TRUSTED_FOR = 30.0  # seconds since it was last seen to be usable

# Classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html that pass by themselves.
READ_ONLY = "25006"  # a primary that has become a replica
OUTAGES = (
    "08",  # connection exceptions
    READ_ONLY,
    "40",  # transaction rollback: deadlocks, serialization failures
    "53",  # insufficient resources: disk full, too many connections
    "55006",  # object in use
    "55P03",  # lock not available: lock_timeout
    "57",  # operator intervention: shutdown, start-up, statement_timeout
    "58",  # system errors: I/O
)


class _ErrorWrapper(DatabaseErrorWrapper):
    """Maps the driver's exceptions to Django's."""

    wrapper: "DatabaseWrapper"

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        code = getattr(exc_value, "pgcode", None)
        if not code:  # no error of the driver's, or the connection was lost before the server could say anything
            return super().__exit__(exc_type, exc_value, traceback)
        if code.startswith(OUTAGES):
            self.wrapper.errors_occurred = True
            self.wrapper.refuses_writes |= code == READ_ONLY
            raise OperationalError(*exc_value.args).with_traceback(traceback) from exc_value
        if issubclass(exc_type, self.wrapper.Database.OperationalError):
            raise DatabaseError(*exc_value.args).with_traceback(traceback) from exc_value
        return super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to a PostgreSQL server."""

    refuses_writes = False  # whether it has led to a server that has become read-only
    _connected_at = (datetime.min.replace(tzinfo=UTC), 0.0)  # by the server's clock, and by time.monotonic()
    _seen_at = 0.0  # when it was last seen to be usable, by time.monotonic()

    @cached_property
    def wrap_database_errors(self) -> _ErrorWrapper:
        return _ErrorWrapper(self)

    def connect(self) -> None:
        super().connect()
        self.refuses_writes, self._seen_at = False, time.monotonic()
        asked_at = time.monotonic()  # before, so that the answer is never behind the server
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
            (moment,) = cursor.fetchone()
        self._connected_at = moment.replace(tzinfo=UTC), asked_at

    def server_time(self) -> datetime:
        """The time by the server's clock: its time when the connection was made, and what has passed since."""
        moment, then = self._connected_at
        return moment + timedelta(seconds=time.monotonic() - then)

    def is_usable(self) -> bool:
        """Whether the next statement can be sent. The server is asked if it has sent something unasked, and if nobody
        has asked for a while: a peer that is gone without a word leaves its connections quiet."""
        now = time.monotonic()
        trusted = now - self._seen_at < TRUSTED_FOR and self._is_quiet()
        usable = not self.refuses_writes and (trusted or super().is_usable())
        self._seen_at = now if usable else 0.0
        return usable

    def _is_quiet(self) -> bool:
        """Whether the connection is open as far as this side knows, and no word from the server waits on it."""
        if self.connection is None or self.connection.closed or self.errors_occurred:
            return False
        waiting = select.poll()
        waiting.register(self.connection.fileno(), select.POLLIN)
        return not waiting.poll(0)

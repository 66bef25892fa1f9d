"""`ENGINE = "sagas.db.postgresql"`: Django's own backend, except for which errors are outages.

That is decided here, by SQLSTATE: an outage is raised as `OperationalError`. psycopg2's classes decide otherwise: a
read-only server is its InternalError, a statement that is too complex its OperationalError.
"""

from typing import Any

from django.db import DatabaseError, OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

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

    @cached_property
    def wrap_database_errors(self) -> _ErrorWrapper:
        return _ErrorWrapper(self)

    def connect(self) -> None:
        super().connect()
        self.refuses_writes = False

    def is_usable(self) -> bool:
        return not self.refuses_writes and bool(super().is_usable())

"""One clock for what is due: the database server's."""

from datetime import datetime
from typing import Any

from django.db import connections


def database_time(service: str) -> datetime:
    """The time by the clock of a service's database server, without asking it each time.

    A host whose own clock is wrong neither runs what is not due yet nor leaves what is due.
    """
    connection: Any = connections[service]  # of fastdb.postgresql
    connection.ensure_connection()
    time: datetime = connection.server_time()
    return time

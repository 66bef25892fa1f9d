"""Who waits for whose locks."""

from django.db import connections


def somebody_waits_for_us(service: str) -> bool:
    """Whether another connection to this service's database waits for what this one holds."""
    with connections[service].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])

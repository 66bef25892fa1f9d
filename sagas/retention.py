"""Old messages are deleted, in small portions, so that cost stays flat.

An order that is still open needs its messages: it is resumed by emitting them again from the first. A service cannot
know which orders are open, so RETENTION is far longer than any order takes: days against the deadline's minutes, and
the weeks that a carrier may have a parcel. An order that has been open for half of it is named by the audit
(`orders_end`); `manage.py check` refuses a retention near the deadline.
"""

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.utils import timezone

from sagas.crash_points import crash_point

PORTION = 5000  # rows of a table in one statement
OLD = {
    "Inbox": "handled_at < %s",
    "Outbox": "created_at < %s AND NOT EXISTS (SELECT FROM {service}_unsent WHERE outbox_id = id)",
    "DeadLetter": "resolved_at < %s",
}

# The whole row's address rather than its key: the same statement for every table, and no index needed.
DELETE = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT %s))"


def delete_portion(service: str, table: str, condition: str, parameters: list) -> int:
    """Delete up to a portion of a table's rows that meet a condition (SQL of ours, never of a user's)."""
    with connections[service].cursor() as cursor:
        cursor.execute(DELETE.format(table=table, condition=condition), [*parameters, PORTION])
        crash_point("purge.deleted")
        return cursor.rowcount


def purge_messages(service: str) -> int:
    """Delete one portion of a service's messages older than RETENTION; how many rows that was.

    An outbox row goes only when it has been published, a dead letter only when it has been resolved for that long.
    """
    before = timezone.now() - settings.RETENTION
    return sum(
        delete_portion(
            service, apps.get_model(service, table)._meta.db_table, condition.format(service=service), [before]
        )
        for table, condition in OLD.items()
    )

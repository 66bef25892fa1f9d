"""Old messages are deleted, in portions, so that no statement takes long.

A saga that is still open needs its messages: it is resumed by emitting them again from the first. A service cannot know
which instances are open, so `Settings.retention` must be far longer than any of them takes.
"""

from typing import Any

from django.apps import apps
from django.db import connections

from sagas.conf import conf
from sagas.crash_points import crash_point

PORTION = 5000  # rows of a table in one statement
OLD = {
    "Inbox": "handled_at < now() - %s",
    "Outbox": "created_at < now() - %s AND NOT EXISTS (SELECT FROM {service}_unsent WHERE outbox_id = id)",
    "DeadLetter": "resolved_at < now() - %s",
}

# By the row's address rather than its key: the same statement for every table, and no index needed. What somebody else
# has locked is left for the next time.
PART = " WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT %s FOR UPDATE SKIP LOCKED))"


def delete_portion(service: str, table: str, condition: str, parameters: list[Any]) -> int:
    """Delete up to a portion of a table's rows that meet a condition (the project's SQL, never a user's)."""
    return change_portion(service, "DELETE FROM {table}", table, condition, parameters)


def change_portion(service: str, change: str, table: str, condition: str, parameters: list[Any]) -> int:
    """Likewise for another change: "UPDATE {table} SET …". It must leave rows that do not meet the condition."""
    with connections[service].cursor() as cursor:
        cursor.execute((change + PART).format(table=table, condition=condition), [*parameters, PORTION])
        crash_point("purge.deleted")
        return int(cursor.rowcount)


def purge_messages(service: str) -> int:
    """Delete one portion of a service's messages older than the retention; how many rows that was.

    An outbox row goes only once it has been published, a dead letter only once it has been resolved for that long.
    """
    deleted = 0
    for name, condition in OLD.items():
        table = apps.get_model(service, name)._meta.db_table
        deleted += delete_portion(service, table, condition.format(service=service), [conf().retention])
    return deleted

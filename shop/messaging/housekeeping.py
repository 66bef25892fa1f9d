"""Old inbox and outbox rows are deleted, in small portions, so that cost stays flat."""

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.utils import timezone

PORTION = 5000

# The whole row's address rather than its key: the same statement for every table, and no index needed.
DELETE = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT %s))"


def delete_portion(service: str, table: str, condition: str, parameters: list) -> int:
    """Delete up to a portion of a table's rows that meet a condition (SQL of ours, never of a user's)."""
    with connections[service].cursor() as cursor:
        cursor.execute(DELETE.format(table=table, condition=condition), [*parameters, PORTION])
        return cursor.rowcount


def purge_messages(service: str) -> int:
    """Delete one portion of a service's inbox and outbox rows older than RETENTION; how many rows that was.

    An outbox row goes only when it has been published. The retention must be longer than the longest replay.
    """
    before = timezone.now() - settings.RETENTION
    inbox, outbox = (apps.get_model(service, name)._meta.db_table for name in ("Inbox", "Outbox"))
    return delete_portion(service, inbox, "handled_at < %s", [before]) + delete_portion(
        service, outbox, "created_at < %s AND published_at IS NOT NULL", [before]
    )

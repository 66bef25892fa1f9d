"""What is pending in a service's database: unpublished events, deferred events, dead letters."""

from datetime import datetime
from typing import NamedTuple

from sagas.db.prepared import query

# Each part uses an index: the primary key for the oldest event, the relay's partial indexes for the rest.
WAITING = """
    SELECT (SELECT created_at FROM {service}_outbox
            WHERE id = (SELECT min(outbox_id) FROM {service}_unsent WHERE deferred_until IS NULL)),
        (SELECT count(*) FROM (SELECT FROM {service}_unsent WHERE deferred_until IS NULL LIMIT %(most)s) AS unsent),
        LEAST((SELECT min(deferred_until) FROM {service}_unsent), (SELECT min(deferred_until) FROM {service}_inbox)),
        (SELECT count(*) FROM (SELECT FROM {service}_deadletter WHERE resolved_at IS NULL LIMIT %(most)s) AS dead)
"""


class Backlog(NamedTuple):
    """Counts stop at the `most` that was asked for; times are None if nothing waits."""

    unsent_since: datetime | None  # creation of the oldest event in the outbox
    unsent: int
    deferred_since: datetime | None  # the earliest time at which a deferred event is due
    dead_letters: int


def backlog(service: str, *, most: int) -> Backlog:
    """What waits in the database of a service that takes part in the saga. Raises what the database raises."""
    (row,) = query(service, WAITING.format(service=service), {"most": most})
    return Backlog(*row)

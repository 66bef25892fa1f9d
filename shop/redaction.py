"""Removes what may identify a customer from the messages of their orders, in inbox, outbox and dead letters.

Until then, pages show messages without the fields that nobody needs to see.
"""

from collections.abc import Sequence
from typing import Any

from django.apps import apps

from sagas.conf import choreography
from sagas.db.prepared import query
from sagas.retention import change_portion
from shop.contracts.events import PERSONAL

UNSEEN = ("payment_token", "address", "present_address")  # fields of events that no page shows

# The value of a JSON string, after its field's name.
VALUE = rf"""("(?:{"|".join(PERSONAL)})"\s*:\s*")(?:[^"\\]|\\.)+"""
REDACTED = {
    "Inbox": r"emitted = regexp_replace(emitted::text, %(value)s, '\1', 'g')::json",
    "Outbox": r"payload = regexp_replace(payload::text, %(value)s, '\1', 'g')::json",
    # An error's text may quote a value; its type does not.
    "DeadLetter": r"""
        payload = regexp_replace(payload, %(value)s, '\1', 'g'), error = split_part(error, ':', 1), traceback = ''
    """,
}
# The messages of other sagas have other keys, such as users.
REDACT = """
    UPDATE {table} SET {redacted} WHERE correlation_id = ANY(%(orders)s::bigint[]) AND event_type <> ALL(%(others)s)
"""
BLANK = "UPDATE {{table}} SET {changes}"


def redact_messages(service: str, order_ids: Sequence[int]) -> None:
    """Blank the PERSONAL fields in a service's messages of orders that have ended.

    A message that is published again has the blank fields, too. Runs in the caller's transaction.
    """
    others = [event.__name__ for event, saga in choreography().saga_of.items() if saga.key != "order_id"]
    values = {"orders": list(order_ids), "others": others, "value": VALUE}
    for table, redacted in REDACTED.items():
        name = apps.get_model(service, table)._meta.db_table
        query(service, REDACT.format(table=name, redacted=redacted), values)


def blank_portion(service: str, table: str, changes: str, condition: str, parameters: list[Any]) -> int:
    """Change up to a portion of a table's rows so that they do not meet a condition any more; how many that was."""
    return change_portion(service, BLANK.format(changes=changes), table, condition, parameters)


def masked(value: Any) -> Any:
    """Return an event as JSON-ready values, with the fields masked that nobody needs to see."""
    if isinstance(value, dict):
        return {key: "…" if key in UNSEEN and one else masked(one) for key, one in value.items()}
    return [masked(one) for one in value] if isinstance(value, list) else value

"""Model fields."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import JSONField


class TextualJSONField(JSONField):
    """JSON that PostgreSQL keeps as it was written (`json`) instead of taking it apart (`jsonb`): for what is written
    for every message, and read as a whole if ever."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return value  # psycopg2 has read it already, as it does with json

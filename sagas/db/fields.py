"""Model fields."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import JSONField


class TextualJSONField(JSONField):
    """JSON that PostgreSQL stores as text (`json`) instead of parsing it (`jsonb`). That is cheaper to write, and right
    for values that are read as a whole, and seldom."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return value  # psycopg2 has read it already, as it does with json

"""A database router for a project in which each service has a database of its own, under the service's name."""

from typing import Any

from django.conf import settings
from django.db.models import Model


class ServiceRouter:
    """Sends each model to its service's database, and keeps migrations and relations from crossing."""

    def database_of(self, app_label: str) -> str:
        """The alias of the database that holds an app's tables: its own, else "default"."""
        return app_label if app_label in settings.DATABASES else "default"

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return self.database_of(model._meta.app_label)

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return self.database_of(one._meta.app_label) == self.database_of(other._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == self.database_of(app_label)

"""Every app has its own database: the alias is the app's label.

Django's own tables (users' groups, sessions, the admin's log, content types) and the token blacklist live with
`accounts`. `default` is a second name for that database, because commands such as `createsuperuser` ask for it; in a
process that runs one service alone it is a second name for that one's, the only one it knows.
"""

from typing import Any

from django.conf import settings
from django.db.models import Model

HOME_OF_DJANGO = "accounts"


def database_of(app_label: str) -> str:
    """The alias of the database that holds an app's tables."""
    return app_label if app_label in settings.SERVICES else HOME_OF_DJANGO


class ServiceRouter:
    """Send each model to its service's database, and keep migrations and relations from crossing."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return database_of(model._meta.app_label)

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return database_of(one._meta.app_label) == database_of(other._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (settings.LOCAL_SERVICES[0] if db == "default" else db) == database_of(app_label)

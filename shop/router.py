"""Every app has its own database: the alias is the app's label.

Django's own tables (users' groups, sessions, the admin's log, content types) and the token blacklist live with
`accounts`. `default` is a second name for that database, because commands such as `createsuperuser` ask for it; in a
process that runs one service alone it is a second name for that one's, the only one it knows.
"""

from typing import Any

from django.conf import settings

from sagas.db import router

HOME_OF_DJANGO = "accounts"


def database_of(app_label: str) -> str:
    """The alias of the database that holds an app's tables."""
    return app_label if app_label in settings.SERVICES else HOME_OF_DJANGO


class ServiceRouter(router.ServiceRouter):
    """The kernel's, with Django's own tables at home."""

    def database_of(self, app_label: str) -> str:
        return database_of(app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return super().allow_migrate(settings.LOCAL_SERVICES[0] if db == "default" else db, app_label, **hints)

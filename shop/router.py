"""Every app has its own database: the alias is the app's label.

Django's own tables (users' groups, sessions, the admin's log, content types) and the token blacklist live with
`accounts`. `default` is a second name for that database, because commands such as `createsuperuser` use it; in a
process that runs a single service, it is a second name for that service's database.
"""

from typing import Any

from django.conf import settings

from sagas.db import router

HOME_OF_DJANGO = "accounts"


def database_of(app_label: str) -> str:
    """The alias of the database that holds an app's tables."""
    return app_label if app_label in settings.SERVICES else HOME_OF_DJANGO


class ServiceRouter(router.ServiceRouter):
    """The kernel's router, with Django's own tables in the database of accounts."""

    def database_of(self, app_label: str) -> str:
        return database_of(app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return super().allow_migrate(settings.LOCAL_SERVICES[0] if db == "default" else db, app_label, **hints)

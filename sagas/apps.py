import os

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules, import_string


class SagasConfig(AppConfig):
    name = "sagas"

    def ready(self) -> None:
        from sagas import checks  # noqa: F401 (registers the system checks)

        autodiscover_modules("tasks")  # every service's steps, for the checks and for what runs them
        if os.environ.get("CRASH_POINTS") == "1":  # by name, because only tests need that module
            import_string("sagas.testing.crashes.obey_environment")()

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SagasConfig(AppConfig):
    name = "sagas"

    def ready(self) -> None:
        from sagas import checks  # noqa: F401 (registers the system checks)

        autodiscover_modules("tasks")  # every service's steps, for the checks and for what runs them

from django.apps import AppConfig
from django.conf import settings
from django.urls import register_converter
from django.utils.module_loading import autodiscover_modules


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        from sagas import checks as _saga_checks  # noqa: F401 (registers the system checks)
        from shop import checks as _checks  # noqa: F401 (likewise)
        from shop.api.converters import IdConverter

        register_converter(IdConverter, "id")
        if not settings.ALONE:  # the admin, and so the people who look at it, are elsewhere
            from shop.console.languages import translate_names

            translate_names(settings.SERVICES)
        autodiscover_modules("tasks")  # every service's steps, for the checks and for what runs them

from django.apps import AppConfig
from django.conf import settings
from django.urls import register_converter


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        from shop import checks  # noqa: F401 (registers the system checks)
        from shop.api.converters import IdConverter

        register_converter(IdConverter, "id")
        if not settings.ALONE:  # one service alone has no admin to show the names
            from shop.languages import translate_names

            translate_names(settings.SERVICES)

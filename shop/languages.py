"""The languages of the pages: English, as written in the code, and Korean, from `locale/`.

`make messages` compiles the translations. The compiled files are in the repository, so the shop runs without gettext.
"""

from collections.abc import Callable, Iterable

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language_from_request, gettext_lazy, override

API = "/api/"  # always in English


def language(request: HttpRequest) -> str:
    """The language chosen with `?lang=ko` (remembered in a cookie), else the one that the browser prefers."""
    chosen = request.GET.get("lang", "")
    return chosen if chosen in dict(settings.LANGUAGES) else get_language_from_request(request)


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: answers in the visitor's language."""

    def respond(request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(API):
            return get_response(request)
        with override(language(request)):
            return get_response(request)

    return respond


def translate_names(labels: Iterable[str]) -> None:
    """Make the names of apps, models, fields and choices translatable.

    Marking each name where it is defined would need migrations, although names are not in the database.
    """
    for label in labels:
        config = apps.get_app_config(label)
        config.verbose_name = gettext_lazy(str(config.verbose_name))
        for model in config.get_models():
            options = model._meta
            options.verbose_name = gettext_lazy(str(options.verbose_name))
            options.verbose_name_plural = gettext_lazy(str(options.verbose_name_plural))
            for field in options.local_concrete_fields:
                field.verbose_name = gettext_lazy(str(field.verbose_name))
                if field.help_text:
                    field.help_text = gettext_lazy(str(field.help_text))
                if field.choices:
                    field.choices = [(value, gettext_lazy(str(name))) for value, name in field.choices]

"""The languages of the pages for people: English, as the code says it, and Korean, from `locale/`.

`make messages` compiles the translations. What it writes is in the repository, so the shop runs without gettext.
"""

from collections.abc import Callable, Iterable

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language_from_request, gettext_lazy, override

API = "/api/"  # is read by programs, whatever their users speak


def language(request: HttpRequest) -> str:
    """What the visitor has chosen (`?lang=ko`, remembered), else what the browser asks for."""
    chosen = request.GET.get("lang", "")
    return chosen if chosen in dict(settings.LANGUAGES) else get_language_from_request(request)


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answers in the visitor's language."""

    def respond(request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(API):
            return get_response(request)
        with override(language(request)):
            return get_response(request)

    return respond


def translate_names(labels: Iterable[str]) -> None:
    """Have apps, models, fields and choices be called what they are called in the visitor's language.

    Marking each name where it is defined would take a migration for it, though nothing of it is in a database.
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

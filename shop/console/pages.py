"""What every page of the console needs: language, visitor and permissions, fragments that refresh themselves."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

from sagas.outages import OUTAGES
from shop.console.languages import language
from shop.console.texts import LANGUAGES, texts


def visitor(request: HttpRequest) -> Any:
    """The signed-in user; anonymous while the database of accounts is down."""
    try:
        return request.user if request.user.is_authenticated else AnonymousUser()
    except OUTAGES:
        return AnonymousUser()


def may(request: HttpRequest, permission: str = "") -> bool:
    """Whether the visitor is staff and has the permission, if one is given."""
    user = visitor(request)
    try:
        return bool(user.is_staff and (not permission or user.has_perm(permission)))
    except OUTAGES:
        return False


def may_look(request: HttpRequest, permission: str = "") -> bool:
    """Whether the visitor may see internals: staff, and everybody on a development machine."""
    return settings.DEBUG or may(request, permission)


def page(request: HttpRequest, template: str, context: Mapping[str, Any], status: int = 200) -> HttpResponse:
    """Render a page in the visitor's language."""
    response = render(request, template, {**_common(request), **context}, status=status)
    if request.GET.get("lang") in LANGUAGES:
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            request.GET["lang"],
            max_age=settings.LANGUAGE_COOKIE_AGE,
            samesite="Lax",
        )
    patch_vary_headers(response, ["Accept-Language", "Cookie"])
    return response


def fragment(request: HttpRequest, template: str, context: Mapping[str, Any], **more: Any) -> JsonResponse:
    """The HTML of a part that `live.js` refreshes, with more values beside it."""
    html = render_to_string(template, {**_common(request), **context}, request)
    return JsonResponse({"html": html, **more}, headers={"Cache-Control": "no-store"})


def _common(request: HttpRequest) -> dict[str, Any]:
    lang = language(request)
    return {
        "lang": lang,
        "other_lang": next(one for one in LANGUAGES if one != lang),
        "t": texts(lang),
        "visitor": visitor(request),
        "debug": settings.DEBUG,
    }

"""What every page of the console needs: language, visitor and permissions, fragments that refresh themselves."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

from console.texts import LANGUAGES, texts
from sagas.outages import OUTAGES
from shop.api import permissions
from shop.languages import language

OPERATE = "shop.operate"


def visitor(request: HttpRequest) -> Any:
    """The signed-in user; anonymous while the database of accounts is down."""
    try:
        return request.user if request.user.is_authenticated else AnonymousUser()
    except OUTAGES:
        return AnonymousUser()


def sandbox(_: HttpRequest) -> dict[str, bool]:
    """Context processor: whether the page must say that nothing here is real (obvious on a development machine)."""
    return {"sandbox": settings.SANDBOX and not settings.DEBUG}


def may(request: HttpRequest, right: str = OPERATE) -> bool:
    """Whether the visitor has a permission."""
    user = visitor(request)
    try:
        return permissions.may(user, right)
    except OUTAGES:
        return False


def may_look(request: HttpRequest, *rights: str) -> bool:
    """Whether this visitor may see what goes on inside: that takes one of these permissions, by default that of
    operators; on a development machine everybody may."""
    return settings.DEBUG or any(may(request, right) for right in rights or (OPERATE,))


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
    """Respond with the HTML of a part that `live.js` refreshes, and with more values."""
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

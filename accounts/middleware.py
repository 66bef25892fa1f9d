"""Staff who signed in with a password but owe a second factor are anonymous, except on the page that asks for it."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import SimpleLazyObject
from django.utils.http import urlencode

from accounts.second_factor import is_required
from sagas.outages import OUTAGES

PAGE, LOGOUT = "/account/second-factor", "/admin/logout/"  # by address: another URLconf may be in use
ASKED_FOR = ("/admin/", "/console/", "/api-auth/")  # staff pages that redirect to that page


def second_factor(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, after OTPMiddleware."""

    def respond(request: HttpRequest) -> HttpResponse:
        user = getattr(request, "user", None)
        if user is None or request.path in (PAGE, LOGOUT):
            return get_response(request)
        request.user = SimpleLazyObject(lambda: AnonymousUser() if _owes(user) else user)  # type: ignore[assignment]
        if request.path.startswith(ASKED_FOR) and _owes_now(user):
            return redirect(f"{PAGE}?{urlencode({'next': request.get_full_path()})}")
        return get_response(request)

    return respond


def _owes(user: Any) -> bool:
    return bool(user.is_authenticated and user.is_staff and not user.is_verified() and is_required(user))


def _owes_now(user: Any) -> bool:
    try:
        return _owes(user)
    except OUTAGES:  # then nobody can be authenticated
        return False

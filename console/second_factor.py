"""The page on which staff set up a second factor, and show it when they have signed in with their password."""

from base64 import b32encode
from http import HTTPStatus
from importlib import import_module
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from django_otp import login

from console.pages import page, visitor
from console.texts import texts
from shop.api.problems import Problem
from shop.languages import language


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor(request: HttpRequest) -> HttpResponseBase:
    """Ask for a code; of who has no second factor yet, to set one up."""
    user, rules = visitor(request), import_module("accounts.second_factor")
    if not (user.is_authenticated and user.is_staff):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    t, following, there = texts(language(request)), _next(request), rules.is_set_up(user)
    context: dict[str, Any] = {"next": following, "done": there and user.is_verified()}
    context["keep"] = f"{urlencode({'next': following})}&"
    status = HTTPStatus.OK
    if request.method == "POST" and not context["done"]:
        code = request.POST.get("code", "").replace("\0", "")[:20]
        try:
            found = rules.match(user, code, request) if there else rules.confirm(user, code, request)
        except Problem as refused:
            context["refusal"], status, found = t["too_many"], HTTPStatus(refused.status_code), None
        else:
            context["refusal"], status = t["factor_wrong"], HTTPStatus.BAD_REQUEST
        if found:
            device, context["codes"] = (found, None) if there else found
            login(request, device)
            return redirect(following) if there else page(request, "console/second_factor.html", context)
    if not there:
        device = rules.begin(user)
        context |= {"picture": rules.picture(device), "key": b32encode(device.bin_key).decode()}
    return page(request, "console/second_factor.html", context, status)


def _next(request: HttpRequest) -> str:
    """Where somebody wanted to go, if that is a page of ours."""
    wanted = request.GET.get("next", "")
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if ours else reverse("admin:index")

"""The page on which staff give their second factor after their password, and on which they set it up: an app, passkeys,
recovery codes. Codes work without JavaScript."""

import json
from base64 import b32encode
from http import HTTPStatus
from importlib import import_module
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import logout
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
from shop.text import LineField


class _NameForm(forms.Form):
    name = LineField(max_length=64)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor(request: HttpRequest) -> HttpResponseBase:
    """Ask for the second factor. Staff who have given it, or have none yet, can set it up or change it."""
    user, rules = visitor(request), import_module("accounts.second_factor")
    if not (user.is_authenticated and user.is_staff):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    t, context, status = texts(language(request)), {"next": _next(request)}, HTTPStatus.OK
    context["keep"] = f"{urlencode({'next': context['next']})}&"
    owed = rules.is_set_up(user) and not user.is_verified()
    if request.method == "POST":
        try:
            answer = _show(request, user, rules) if owed else _change(request, user, rules, context)
        except Problem as refused:
            context["refusal"], status = t["too_many"], HTTPStatus(refused.status_code)
        else:
            if answer:
                return answer
            if not context.get("codes"):
                wrong = "passkey_wrong" if "passkey" in request.POST else "factor_wrong"
                context["refusal"], status = t[wrong], HTTPStatus.BAD_REQUEST
    return page(request, "console/second_factor.html", context | _state(request, user, rules, owed), status)


def _show(request: HttpRequest, user: Any, rules: Any) -> HttpResponseBase | None:
    """Sign in staff with the right code or passkey, and redirect to where they wanted to go. None if it is wrong."""
    if "passkey" in request.POST:
        device = rules.match_passkey(user, request.POST["passkey"], request)
    else:
        device = rules.match(user, _code(request), request)
    if device is None:
        return None
    login(request, device)
    return redirect(_next(request))


def _change(request: HttpRequest, user: Any, rules: Any, context: dict[str, Any]) -> HttpResponseBase | None:
    """Set up or remove a second factor. Returns None if it was refused, or if the context has `codes` to show."""
    given, made = request.POST, None
    if "remove" in given:
        rules.remove(user, given["remove"])
        return redirect(request.get_full_path())
    if "everywhere" in given:
        import_module("accounts.services").sign_out_everywhere(user.pk)
        logout(request)
        return redirect("admin:login")
    if "codes" in given and rules.is_set_up(user):
        context["codes"] = rules.new_codes(user)
        return None
    if "passkey" in given:
        form = _NameForm(given)
        if form.is_valid():
            made = rules.add_passkey(user, given["passkey"], form.cleaned_data["name"], request)
    else:
        made = rules.confirm(user, _code(request), request)
    if made is None:
        return None
    device, context["codes"] = made
    if not user.is_verified():
        login(request, device)  # so that nobody is asked at once for what they have just set up
    return None if context["codes"] else redirect(request.get_full_path())


def _state(request: HttpRequest, user: Any, rules: Any, owed: bool) -> dict[str, Any]:
    """Return what the page shows: what it asks for, or what is and can be set up."""
    passkeys = import_module("accounts.passkeys")
    there, work = list(passkeys.of_user(user)), passkeys.work_here(request)
    shown: dict[str, Any] = {"owed": owed, "passkeys": there, "elsewhere": "" if work else settings.PUBLIC_URL}
    if owed:
        return shown | {"options": json.dumps(passkeys.ask_to_show(user, request)) if there and work else ""}
    shown["app"] = rules.has_app(user)
    shown["done"] = shown["app"] or there
    if not shown["app"]:
        device = rules.begin(user)
        shown |= {"picture": rules.picture(device), "key": b32encode(device.bin_key).decode()}
    if work and len(there) < rules.PASSKEYS:
        shown["options"] = json.dumps(passkeys.ask_to_register(user, request))
    return shown


def _code(request: HttpRequest) -> str:
    return request.POST.get("code", "").replace("\0", "")[:20]


def _next(request: HttpRequest) -> str:
    """Return where the visitor wanted to go, if that is a page of ours."""
    wanted = request.GET.get("next", "")
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if ours else reverse("admin:index")

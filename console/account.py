"""The pages behind e-mailed links: confirming an address, and resetting a password. They work without JavaScript.

Only a POST uses up a link, because mail programs and scanners open links before anybody reads them.
"""

from http import HTTPStatus
from importlib import import_module
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from console.pages import page
from console.texts import texts
from shop.api.problems import Problem
from shop.api.throttles import LetterThrottle, Throttle, TokenThrottle
from shop.languages import language
from shop.text import mailbox

METHODS = ["GET", "HEAD", "POST"]
REFUSALS = {"U003": "account_bad_link", "C006": "account_wrong", "C007": "account_too_many"}  # by the problem's code


class _AddressField(forms.EmailField):
    """Measured in normal form, which is longer where a domain is not in ASCII."""

    def to_python(self, value: Any) -> str:
        return mailbox(super().to_python(value) or "")


class _AddressForm(forms.Form):
    email = _AddressField(max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"}))


class _PasswordForm(forms.Form):
    new = forms.CharField(
        max_length=128, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )


class _OwnPasswordForm(forms.Form):
    password = forms.CharField(
        max_length=128, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )


@never_cache
@require_http_methods(METHODS)
def confirm(request: HttpRequest) -> HttpResponse:
    """Confirm an e-mail address, with the account's password."""
    form = _OwnPasswordForm(request.POST or None)

    def work() -> None:
        given = form.cleaned_data["password"]
        import_module("accounts.services").confirm_address(token=_token(request), password=given, request=request)

    return _answer(request, "confirm", form, TokenThrottle, work)


@never_cache
@require_http_methods(METHODS)
def forgot(request: HttpRequest) -> HttpResponse:
    """Request a password reset link."""
    form = _AddressForm(request.POST or None)
    return _answer(request, "forgot", form, LetterThrottle, lambda: _letters().forgot(form.cleaned_data["email"]))


@never_cache
@require_http_methods(METHODS)
def reset(request: HttpRequest) -> HttpResponse:
    """Reset the password."""
    form = _PasswordForm(request.POST or None)
    work = lambda: _letters().reset(_token(request), form.cleaned_data["new"])  # noqa: E731
    return _answer(request, "reset", form, TokenThrottle, work)


def _answer(request: HttpRequest, name: str, form: forms.Form, throttle: type[Throttle], work: Any) -> HttpResponse:
    """Show the form; after a POST, its outcome."""
    t, done, refusal, status = texts(language(request)), "", "", HTTPStatus.OK
    if request.method == "POST":
        if not throttle().allow_request(request, None):  # type: ignore[arg-type]  # asks for method, user and address
            refusal, status = t["too_many"], HTTPStatus.TOO_MANY_REQUESTS
        elif form.is_valid() or not form.fields:
            try:
                work()
                done = t[f"account_{name}_done"]
            except Problem as refused:
                refusal = " ".join(one["reason"] for one in refused.errors) or t[REFUSALS[refused.code]]
                status = HTTPStatus.TOO_MANY_REQUESTS if refused.code == "C007" else HTTPStatus.BAD_REQUEST
        else:
            status = HTTPStatus.BAD_REQUEST
    for field in form.fields:
        form.fields[field].label = t[f"account_{field}"]
    context = {
        "title": t[f"account_{name}"],
        "lead": t[f"account_{name}_what"],
        "button": t[f"account_{name}_do"],
        "form": form,
        "done": done,
        "refusal": refusal,
        "keep": f"{urlencode({'token': _token(request)})}&" if _token(request) else "",
        "again": reverse("account-forgot") if name == "reset" else "",
        "otherwise": f"{reverse('account-reset')}?{urlencode({'token': _token(request)})}" if name == "confirm" else "",
    }
    return page(request, "console/account.html", context, status)


def _token(request: HttpRequest) -> str:
    return request.GET.get("token", "").replace("\0", "")


def _letters() -> Any:
    return import_module("accounts.letters")

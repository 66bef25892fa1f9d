"""Passkeys (WebAuthn): registered and shown on the page of the second factor. See `second_factor.py` for the rules.

django-otp-webauthn stores them and runs the ceremonies; each challenge is kept in the session and can be used once.
py_webauthn parses what a browser sends, so any exception that it raises means an invalid passkey.
"""

from typing import Any

import msgspec
from django.conf import settings
from django.db import DataError, IntegrityError
from django_otp_webauthn.exceptions import OTPWebAuthnApiError
from django_otp_webauthn.helpers import WebAuthnHelper
from django_otp_webauthn.models import WebAuthnCredential
from webauthn.helpers.exceptions import WebAuthnException

from accounts.models import User

REGISTERING, SHOWING = "passkey-registering", "passkey-showing"  # the session's keys for a ceremony's state
LONGEST = 20_000  # characters of what a browser sends
BAD = (WebAuthnException, OTPWebAuthnApiError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


class NoPasskey(Exception):
    """What was sent is not a passkey, not one of this user, or not a response to this page's challenge."""


def work_here(request: Any) -> bool:
    """Whether a browser can use our passkeys on this request's origin: they are bound to that of PUBLIC_URL."""
    return f"{request.scheme}://{request.get_host()}" in settings.OTP_WEBAUTHN_ALLOWED_ORIGINS


def of_user(user: User) -> Any:
    """Return a user's passkeys, oldest first."""
    return WebAuthnCredential.objects.filter(user=user, confirmed=True).order_by("pk")


def ask_to_register(user: User, request: Any) -> dict[str, Any]:
    """Return options for `navigator.credentials.create`."""
    options, request.session[REGISTERING] = WebAuthnHelper(request).register_begin(user)
    return dict(options)


def ask_to_show(user: User, request: Any) -> dict[str, Any]:
    """Return options for `navigator.credentials.get`."""
    helper = WebAuthnHelper(request)
    options, request.session[SHOWING] = helper.authenticate_begin(user, require_user_verification=False)
    return dict(options)


def register(user: User, answer: str, name: str, request: Any) -> WebAuthnCredential:
    """Store what `navigator.credentials.create` returned. Raises `NoPasskey`, which rolls back a transaction."""
    try:
        state, data = request.session.pop(REGISTERING), _read(answer)
        passkey = WebAuthnHelper(request).register_complete(user, state, data)
        passkey.name = name
        passkey.save(update_fields=["name"])
    except (*BAD, IntegrityError, DataError) as why:  # already registered, or its counter does not fit the column
        raise NoPasskey from why
    return passkey


def shown(user: User, answer: str, request: Any) -> WebAuthnCredential:
    """Return the user's passkey that `navigator.credentials.get` has used. Raises `NoPasskey`."""
    try:
        state, data = request.session.pop(SHOWING), _read(answer)
        return WebAuthnHelper(request).authenticate_complete(user, state, data)
    except (*BAD, DataError) as why:
        raise NoPasskey from why


def _read(answer: str) -> Any:
    return msgspec.json.decode(answer[:LONGEST])

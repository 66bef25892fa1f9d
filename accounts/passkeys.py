"""Passkeys (WebAuthn): registered and shown on the page of the second factor. See `second_factor.py` for the rules.

django-otp-webauthn keeps them and makes and checks the ceremonies; each challenge waits in the session, good once. What
a browser sends is checked to the last byte by py_webauthn, so whatever that chokes on is no passkey.
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

REGISTERING, SHOWING = "passkey-registering", "passkey-showing"  # what of the ceremony is in the session
LONGEST = 20_000  # characters of what a browser sends
BAD = (WebAuthnException, OTPWebAuthnApiError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


class NoPasskey(Exception):
    """What was sent is no passkey, not of this user, or not an answer to this page's challenge."""


def work_here(request: Any) -> bool:
    """Whether a browser has our passkeys on the address that it asked for: they are bound to PUBLIC_URL's."""
    return f"{request.scheme}://{request.get_host()}" in settings.OTP_WEBAUTHN_ALLOWED_ORIGINS


def of_user(user: User) -> Any:
    """Somebody's passkeys, the oldest first."""
    return WebAuthnCredential.objects.filter(user=user, confirmed=True).order_by("pk")


def ask_to_register(user: User, request: Any) -> dict[str, Any]:
    """Options for `navigator.credentials.create`."""
    options, request.session[REGISTERING] = WebAuthnHelper(request).register_begin(user)
    return dict(options)


def ask_to_show(user: User, request: Any) -> dict[str, Any]:
    """Options for `navigator.credentials.get`."""
    helper = WebAuthnHelper(request)
    options, request.session[SHOWING] = helper.authenticate_begin(user, require_user_verification=False)
    return dict(options)


def register(user: User, answer: str, name: str, request: Any) -> WebAuthnCredential:
    """Keep what `navigator.credentials.create` made. Raises `NoPasskey`, which undoes a transaction."""
    try:
        state, data = request.session.pop(REGISTERING), _read(answer)
        passkey = WebAuthnHelper(request).register_complete(user, state, data)
        passkey.name = name
        passkey.save(update_fields=["name"])
    except (*BAD, IntegrityError, DataError) as why:  # known already, or with a count that no column holds
        raise NoPasskey from why
    return passkey


def shown(user: User, answer: str, request: Any) -> WebAuthnCredential:
    """The passkey of a user that `navigator.credentials.get` has shown. Raises `NoPasskey`."""
    try:
        state, data = request.session.pop(SHOWING), _read(answer)
        return WebAuthnHelper(request).authenticate_complete(user, state, data)
    except (*BAD, DataError) as why:
        raise NoPasskey from why


def _read(answer: str) -> Any:
    return msgspec.json.decode(answer[:LONGEST])

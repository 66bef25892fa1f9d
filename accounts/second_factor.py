"""Staff's second factor: a passkey or an app's codes (TOTP, RFC 6238), with recovery codes in case it is lost.

Once a staff member has set one up, a password alone signs them in nowhere: not by API, not in the admin, not in the
console. With STAFF_SECOND_FACTOR no staff member signs in without one. Wrong codes are counted like wrong passwords. A
second factor can be changed only after it was verified in this session.
"""

from collections.abc import Callable
from typing import Any

import segno
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp_webauthn.models import WebAuthnCredential, WebAuthnUserHandle

from accounts import guesses, passkeys
from accounts.models import SignIn, User
from shop import stafflog
from shop.api.problems import Problem

RECOVERY_CODES = 10
PASSKEYS = 10  # per user
DIGITS = 6  # of an app's code; recovery codes are longer


class SecondFactorMissing(Problem):
    """Send the code of your second factor as `otp`: it is missing, wrong, used before, or expired."""

    code = "C006"
    auth_header = 'Bearer realm="api"'


class SecondFactorNotSetUp(Problem):
    """Staff need a second factor: set one up at /account/second-factor."""

    code = "C005"


def has_app(user: User) -> bool:
    """Whether a user has set up an app."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_set_up(user: User) -> bool:
    """Whether a staff member has set up a second factor."""
    return bool(user.is_staff and (has_app(user) or passkeys.of_user(user).exists()))


def is_required(user: User) -> bool:
    """Whether signing in takes more than a password."""
    return user.is_staff and (settings.STAFF_SECOND_FACTOR or is_set_up(user))


def insist(user: User, code: str, request: Any) -> None:
    """Check the code of a user who signs in with a password, if one is required.

    Raises `SecondFactorMissing`, `SecondFactorNotSetUp`, `TooManyGuesses`.
    """
    if not is_required(user):
        return
    if not is_set_up(user):
        raise SecondFactorNotSetUp
    if not code or match(user, code, request) is None:
        raise SecondFactorMissing


def match(user: User, code: str, request: Any) -> Any:
    """Use up a code; return its device, or None for a wrong code. Raises `TooManyGuesses`."""
    return _counted(user, request, lambda: _first(_devices(user, code.strip()), code))


def match_passkey(user: User, answer: str, request: Any) -> Any:
    """Return the passkey that a browser has used; None for an invalid response. Raises `TooManyGuesses`."""
    return _counted(user, request, lambda: passkeys.shown(user, answer, request))


def _devices(user: User, code: str) -> Any:
    """Return the devices that a code can be of: a wrong one counts against no other."""
    kind = TOTPDevice if code.isdecimal() and len(code) == DIGITS else StaticDevice
    return kind.objects.select_for_update().filter(user=user, confirmed=True).order_by("pk")


def _first(devices: Any, code: str) -> Any:
    return next((device for device in devices if device.verify_token(code.strip())), None)


def _counted(user: User, request: Any, work: Callable[[], Any]) -> Any:
    # Counted apart from passwords: a right password does not uncount codes, a wrong one uses up none of their attempts.
    counted = str(user.pk)
    if not guesses.take(counted, request, kind="factor"):
        refusal = guesses.TooManyGuesses()
        refusal.wait = guesses.wait(counted, request, kind="factor")
        raise refusal
    try:
        with transaction.atomic(using="accounts"):
            found = work()
    except passkeys.NoPasskey:
        return None
    if found is not None:
        guesses.give_back(counted, request, kind="factor")
    return found


# --- Setting up, and taking away --------------------------------------------------------------------------------------
def begin(user: User) -> TOTPDevice:
    """Return the app that is being set up; it stays the same until it is confirmed."""
    with transaction.atomic(using="accounts"):
        User.objects.select_for_update().get(pk=user.pk)
        begun = TOTPDevice.objects.filter(user=user, confirmed=False).order_by("pk").first()
        return begun or TOTPDevice.objects.create(user=user, name="app", confirmed=False)


def picture(device: TOTPDevice) -> str:
    """Return a device's key as a QR code in SVG."""
    return str(segno.make(device.config_url, error="m").svg_inline(scale=5, border=4, light="#fff"))


def confirm(user: User, code: str, request: Any) -> tuple[TOTPDevice, list[str]] | None:
    """Confirm an app with its first code; return its device and new recovery codes, or None for a wrong code.

    It also returns None if the user has an app already. Recovery codes are shown once; the list is empty if the user
    has some already. Raises `TooManyGuesses`.
    """
    _insist_shown(user)
    if has_app(user):
        return None
    pending = begin(user)
    locked = TOTPDevice.objects.select_for_update().filter(pk=pending.pk)
    device = _counted(user, request, lambda: _first(locked, code))
    if device is None:
        return None
    with transaction.atomic(using="accounts"):
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        stafflog.record("accounts", "set up a second factor", f"user {user.pk}")
        return device, _spare(user)


def add_passkey(user: User, answer: str, name: str, request: Any) -> tuple[WebAuthnCredential, list[str]] | None:
    """Store a passkey that a browser has created; None for an invalid one. Otherwise like `confirm`."""
    _insist_shown(user)

    def register() -> tuple[WebAuthnCredential, list[str]]:
        User.objects.select_for_update().get(pk=user.pk)
        if passkeys.of_user(user).count() >= PASSKEYS:
            raise passkeys.NoPasskey
        passkey = passkeys.register(user, answer, name, request)
        stafflog.record("accounts", "add a passkey", f"user {user.pk}", after={"passkey": passkey.pk})
        return passkey, _spare(user)

    made: tuple[WebAuthnCredential, list[str]] | None = _counted(user, request, register)
    return made


def _spare(user: User) -> list[str]:
    """Create recovery codes unless the user has some; return them in clear text, for the only time."""
    return [] if StaticDevice.objects.filter(user=user).exists() else _make_codes(user)


def new_codes(user: User) -> list[str]:
    """Replace the recovery codes with new ones, and return these."""
    _insist_shown(user)
    return _make_codes(user)


def _make_codes(user: User) -> list[str]:
    with transaction.atomic(using="accounts"):
        StaticDevice.objects.filter(user=user).delete()
        spare = StaticDevice.objects.create(user=user, name="recovery codes")
        codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
        StaticToken.objects.bulk_create([StaticToken(device=spare, token=one) for one in codes])
        stafflog.record("accounts", "make recovery codes", f"user {user.pk}")
    return codes


def remove(user: User, which: str) -> None:
    """Remove the "app", or a passkey by its number; with the last of them also the recovery codes."""
    _insist_shown(user)
    with transaction.atomic(using="accounts"):
        if which == "app":
            gone, _ = TOTPDevice.objects.filter(user=user).delete()
        else:
            wanted = int(which) if which.isdecimal() and len(which) < 19 else 0
            gone, _ = passkeys.of_user(user).filter(pk=wanted).delete()
        if gone:
            said = "remove the app" if which == "app" else "remove a passkey"
            stafflog.record("accounts", said, f"user {user.pk}", before={"passkey": which} if which != "app" else None)
        if not is_set_up(user):
            StaticDevice.objects.filter(user=user).delete()


def _insist_shown(user: Any) -> None:
    if is_set_up(user) and not user.is_verified():
        raise PermissionDenied


def reset(user: User) -> None:
    """Reset a user's lost second factor; they sign in with their password and set up a new one.

    All their sign-ins and sessions end, including those of whoever has found it.
    """
    with transaction.atomic(using="accounts"):
        forget(user)
        User.objects.filter(pk=user.pk).update(sign_outs=F("sign_outs") + 1)
        SignIn.objects.filter(user=user, ended_at=None).update(ended_at=Now())
        stafflog.record("accounts", "reset the second factor", f"user {user.pk}")


def forget(user: User) -> None:
    """Delete all that a second factor consists of."""
    for model in (TOTPDevice, StaticDevice, WebAuthnCredential, WebAuthnUserHandle):
        model.objects.filter(user=user).delete()

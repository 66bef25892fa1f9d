"""Staff's second factor: a passkey, or codes of an app (TOTP, RFC 6238), and recovery codes for who has lost it.

Once a member of staff has set one up, a password alone signs them in nowhere: not by API, not in the admin, not in the
console. With STAFF_SECOND_FACTOR nobody of staff signs in without. What is wrong is counted like wrong passwords. Who
has one changes nothing about it before they have shown it.
"""

from collections.abc import Callable
from typing import Any

import segno
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django_otp import devices_for_user
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp_webauthn.models import WebAuthnCredential, WebAuthnUserHandle

from accounts import guesses, passkeys
from accounts.models import SignIn, User
from shop import stafflog
from shop.api.problems import Problem

RECOVERY_CODES = 10
PASSKEYS = 10  # that one may have


class SecondFactorMissing(Problem):
    """Send the code of your second factor as `otp`; this is none, was used before, or comes too late."""

    code = "C006"
    auth_header = 'Bearer realm="api"'


class SecondFactorNotSetUp(Problem):
    """Staff need a second factor: set one up at /account/second-factor."""

    code = "C005"


def has_app(user: User) -> bool:
    """Whether an app shows codes for somebody."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_set_up(user: User) -> bool:
    """Whether somebody has to show a second factor because they have one."""
    return bool(user.is_staff and (has_app(user) or passkeys.of_user(user).exists()))


def is_required(user: User) -> bool:
    """Whether a password alone does not sign somebody in."""
    return user.is_staff and (settings.STAFF_SECOND_FACTOR or is_set_up(user))


def insist(user: User, code: str, request: Any) -> None:
    """For signing in with a password and a code.

    Raises `SecondFactorMissing`, `SecondFactorNotSetUp`, `TooManyGuesses`.
    """
    if not is_required(user):
        return
    if not is_set_up(user):
        raise SecondFactorNotSetUp
    if not code or match(user, code, request) is None:
        raise SecondFactorMissing


def match(user: User, code: str, request: Any) -> Any:
    """The device that a code is of, which is then used up; None if there is none. Raises `TooManyGuesses`."""
    return _counted(user, request, lambda: _first(devices_for_user(user, for_verify=True), code))


def match_passkey(user: User, answer: str, request: Any) -> Any:
    """The passkey that a browser has shown; None if it has not. Raises `TooManyGuesses`."""
    return _counted(user, request, lambda: passkeys.shown(user, answer, request))


def _first(devices: Any, code: str) -> Any:
    return next((device for device in devices if device.verify_token(code.strip())), None)


def _counted(user: User, request: Any, work: Callable[[], Any]) -> Any:
    # Apart from passwords: a right one does not make codes uncounted, and a wrong one does not use up their tries.
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
    """The app that is being set up, the same until it is confirmed."""
    device, _new = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "app"})
    return device


def picture(device: TOTPDevice) -> str:
    """A device's key as a QR code, SVG."""
    return str(segno.make(device.config_url, error="m").svg_inline(scale=5, border=4, light="#fff"))


def confirm(user: User, code: str, request: Any) -> tuple[TOTPDevice, list[str]] | None:
    """Take an app into use, whose first code this is; None for a wrong code.

    With it the recovery codes, shown once; none if there are some already. Raises `TooManyGuesses`.
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
    """Keep a passkey that a browser has made; None for what is none. As `confirm`."""
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
    """Recovery codes for who has none, in clear for the only time."""
    return [] if StaticDevice.objects.filter(user=user).exists() else _make_codes(user)


def new_codes(user: User) -> list[str]:
    """Other recovery codes, instead of those that were."""
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
    """Take away the "app", or a passkey by its number; with the last of them the recovery codes."""
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
    """Forget somebody's second factor, which they have lost; they sign in with their password and set up another.

    Whoever has found it is signed out, too.
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

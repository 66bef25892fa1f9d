"""Staff's second factor: codes of an app (TOTP, RFC 6238), and recovery codes for who has lost it.

Once a member of staff has set one up, a password alone signs them in nowhere: not by API, not in the admin, not in the
console. With STAFF_SECOND_FACTOR nobody of staff signs in without. Wrong codes are counted like wrong passwords.
"""

from typing import Any

import segno
from django.conf import settings
from django.db import transaction
from django_otp import devices_for_user
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import guesses
from accounts.models import User
from shop import stafflog
from shop.api.problems import Problem

RECOVERY_CODES = 10


class SecondFactorMissing(Problem):
    """Send the code of your second factor as `otp`; this is none, was used before, or comes too late."""

    code = "C006"
    auth_header = 'Bearer realm="api"'


class SecondFactorNotSetUp(Problem):
    """Staff need a second factor: set one up at /account/second-factor."""

    code = "C005"


def is_set_up(user: User) -> bool:
    """Whether somebody has to show a second factor because they have one."""
    return bool(user.is_staff and TOTPDevice.objects.filter(user=user, confirmed=True).exists())


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
    return _verify(user, devices_for_user(user, for_verify=True), code, request)


def _verify(user: User, devices: Any, code: str, request: Any) -> Any:
    # Apart from passwords: a right one does not make codes uncounted, and a wrong one does not use up their tries.
    counted = str(user.pk)
    if not guesses.take(counted, request, kind="factor"):
        refusal = guesses.TooManyGuesses()
        refusal.wait = guesses.wait(counted, request, kind="factor")
        raise refusal
    with transaction.atomic(using="accounts"):
        found = next((device for device in devices if device.verify_token(code.strip())), None)
    if found is not None:
        guesses.give_back(counted, request, kind="factor")
    return found


def begin(user: User) -> TOTPDevice:
    """The device that is being set up, the same until it is confirmed."""
    device, _new = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "app"})
    return device


def picture(device: TOTPDevice) -> str:
    """A device's key as a QR code, SVG."""
    return str(segno.make(device.config_url, error="m").svg_inline(scale=5, border=4, light="#fff"))


def confirm(user: User, code: str, request: Any) -> tuple[TOTPDevice, list[str]] | None:
    """Take a device into use, whose first code this is, and its recovery codes, shown once; None for a wrong code."""
    if is_set_up(user):
        return None
    pending = begin(user)
    locked = TOTPDevice.objects.select_for_update().filter(pk=pending.pk)
    device = _verify(user, locked, code, request)
    if device is None:
        return None
    with transaction.atomic(using="accounts"):
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        StaticDevice.objects.filter(user=user).delete()
        spare = StaticDevice.objects.create(user=user, name="recovery codes")
        codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
        StaticToken.objects.bulk_create([StaticToken(device=spare, token=one) for one in codes])
        stafflog.record("accounts", "set up a second factor", f"user {user.pk}")
    return device, codes


def reset(user: User) -> None:
    """Forget somebody's second factor, which they have lost; they sign in with their password and set up another."""
    with transaction.atomic(using="accounts"):
        TOTPDevice.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()
        stafflog.record("accounts", "reset the second factor", f"user {user.pk}")

"""Guessing passwords is counted, by account and by address, whichever form it is tried on.

Counted in the database of accounts, which signing in needs anyway: for all processes together, and without Redis. A
try is counted before the password is compared, so that many at once are no way around, and taken back when it was
right.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.models import Guess, UserManager
from sagas.db.prepared import query
from shop.api.problems import Problem
from shop.api.throttles import sender

WINDOW = timedelta(minutes=15)  # from the first guess; then counting starts again
COUNT = """
INSERT INTO accounts_guess AS known (key, count, since) VALUES (%(key)s, 1, now())
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN known.since < %(before)s THEN 1 ELSE least(known.count + 1, 1000000) END,
    since = CASE WHEN known.since < %(before)s THEN now() ELSE known.since END
RETURNING count
"""


class TooManyGuesses(Problem):
    """Too many wrong passwords, for this account or from this address. Wait for as long as Retry-After says."""

    code = "C007"


def take(name: str, request: Any, *, kind: str = "account") -> bool:
    """Count a try; False when there were too many already, and the password is not to be compared.

    `kind` says what `name` is of: an "account" by its e-mail address, as strangers type it, or a second "factor".
    """
    before = timezone.now() - WINDOW
    allowed = True
    for key, limit in _keys(kind, name, request).items():
        ((count,),) = query("accounts", COUNT, {"key": key, "before": before})
        allowed &= count <= limit
    return allowed


def give_back(name: str, request: Any, *, kind: str = "account") -> None:
    """The password was right: the account's tries are forgotten, and the address has one less."""
    account, *address = _keys(kind, name, request)
    Guess.objects.filter(key=account).delete()
    query("accounts", "UPDATE accounts_guess SET count = count - 1 WHERE key = ANY(%s) AND count > 0", [address])


def forget(email: str) -> None:
    """Somebody has shown in another way that the account is theirs: what others guessed is no longer counted."""
    Guess.objects.filter(key__in=_keys("account", email, None)).delete()


def wait(name: str, request: Any, *, kind: str = "account") -> float:
    """Seconds until the next try will do; 0 when it will now."""
    keys, now = _keys(kind, name, request), timezone.now()
    full = [one.since for one in Guess.objects.filter(key__in=keys) if one.count > keys[one.key]]
    return max([0.0, *((since + WINDOW - now).total_seconds() for since in full)])


def _keys(kind: str, name: str, request: Any) -> dict[str, int]:
    """What is counted, with its limit: an account that need not exist or a factor, and an address. None is in clear."""
    address = sender(request) if request is not None else ""
    wanted = [(kind, UserManager.normalize_email(name), settings.GUESSES_PER_ACCOUNT)]
    wanted += [("address", address, settings.GUESSES_PER_ADDRESS)] if address else []
    return {salted_hmac(kind, name, algorithm="sha256").hexdigest(): limit or 2**31 for kind, name, limit in wanted}

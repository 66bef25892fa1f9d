"""Limits password guessing: attempts are counted by account and by address, on whichever form they are made.

They are counted in the database of accounts, which signing in needs anyway: for all processes together, and without
Redis. An attempt is counted before the password is compared, so that concurrent attempts cannot evade the limit, and
uncounted if the password was right.
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
    """Count an attempt; return False if there were too many already, so that the password must not be compared.

    `kind` says what `name` is: the e-mail address of an "account", as typed by anybody, or a second "factor".
    """
    before = timezone.now() - WINDOW
    allowed = True
    for key, limit in _keys(kind, name, request).items():
        ((count,),) = query("accounts", COUNT, {"key": key, "before": before})
        allowed &= count <= limit
    return allowed


def give_back(name: str, request: Any, *, kind: str = "account") -> None:
    """Uncount an attempt whose password was right: all of the account's attempts, and one of the address's."""
    account, *address = _keys(kind, name, request)
    Guess.objects.filter(key=account).delete()
    query("accounts", "UPDATE accounts_guess SET count = count - 1 WHERE key = ANY(%s) AND count > 0", [address])


def forget(email: str) -> None:
    """Uncount the attempts on an account whose owner has proved their identity in another way."""
    Guess.objects.filter(key__in=_keys("account", email, None)).delete()


def wait(name: str, request: Any, *, kind: str = "account") -> float:
    """Return the seconds until the next attempt is allowed; 0 if it is allowed now."""
    keys, now = _keys(kind, name, request), timezone.now()
    full = [one.since for one in Guess.objects.filter(key__in=keys) if one.count > keys[one.key]]
    return max([0.0, *((since + WINDOW - now).total_seconds() for since in full)])


def _keys(kind: str, name: str, request: Any) -> dict[str, int]:
    """Return what is counted, hashed, with its limit: an account (which need not exist) or a factor, and an address."""
    address = sender(request) if request is not None else ""
    wanted = [(kind, UserManager.normalize_email(name), settings.GUESSES_PER_ACCOUNT)]
    wanted += [("address", address, settings.GUESSES_PER_ADDRESS)] if address else []
    return {salted_hmac(kind, name, algorithm="sha256").hexdigest(): limit or 2**31 for kind, name, limit in wanted}

"""E-mails with a link that works once: to confirm an address, and to set another password.

A request only writes down an address, in the same time whether or not there is an account. Notifications claims what is
due, and sends it: then it is looked up whose address it is. A link has the letter's id, signed with SECRET_KEY; the
database holds nothing that could be used in its place.
"""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.utils import timezone

from accounts import guesses
from accounts.contacts import mailbox
from accounts.models import Letter, SignIn, User
from accounts.passwords import check_password
from fastdb.clock import database_time
from sagas.db.prepared import query
from shop import stafflog
from shop.api.problems import Problem
from shop.contracts import accounts as contract

VERIFY, RESET = Letter.Kind.VERIFY, Letter.Kind.RESET
A_DAY = timedelta(days=1)
# No shorter than PER_DAY counts: whoever is refused another letter has one that is good. Else a stranger who asks for
# all of a day's letters and guesses at the password would keep an account's owner out.
GOOD_FOR = {VERIFY: timedelta(days=3), RESET: A_DAY}
PER_DAY = 5  # letters to one address, whatever they are for: which one it is shows only when they are claimed
PORTION = 50  # letters sent between claiming and marking
FIRST_PAUSE = timedelta(minutes=1)  # until a letter that was claimed and not sent is claimed again; doubles

WRITE = """
INSERT INTO accounts_letter (id, kind, email, generation, attempts, expires_at)
SELECT gen_random_uuid(), %(kind)s::text, %(email)s::text, '', 0, now() + %(good_for)s::interval
WHERE %(most)s > (
    SELECT count(*) FROM accounts_letter
    WHERE email = %(email)s::text AND created_at > now() - %(day)s::interval
)
RETURNING true
"""


class InvalidLink(Problem):
    """There is no such link: it has expired, was used before, or never was. Ask for another one."""

    code = "U003"


def ask_to_verify(email: str) -> bool:
    """Have a link sent that confirms an address; False when there were too many today. Joins a transaction."""
    return _write(VERIFY, email)


def forgot(email: str) -> None:
    """Request a password-reset link. Takes the same time whether or not the address has an account."""
    _write(RESET, mailbox(email))


def _write(kind: Letter.Kind, email: str) -> bool:
    given = {"kind": kind, "email": email, "good_for": GOOD_FOR[kind], "most": PER_DAY, "day": A_DAY}
    with transaction.atomic(using="accounts"):
        query("accounts", "SELECT pg_advisory_xact_lock(hashtext(%s))", [email])  # of many at once each is counted
        return bool(query("accounts", WRITE, given))


# --- Links ------------------------------------------------------------------------------------------------------------
def _signer() -> Signer:
    return Signer(salt="accounts.letter", sep=".")


def token_of(letter_id: UUID) -> str:
    """What the link of a letter has in it."""
    return _signer().sign(letter_id.hex)


def verify(token: str) -> User:
    """Confirm an address. Raises `InvalidLink`."""
    with transaction.atomic(using="accounts", durable=True):
        user, _letter = _use(token, VERIFY)
        user.verified_at = user.verified_at or timezone.now()
        user.save(update_fields=["verified_at", "updated_at"])
    return user


def reset(token: str, new: str) -> None:
    """Set another password, which ends all sign-ins and sessions, and signs in at once, whoever guessed before.

    Raises `InvalidLink`; for a weak password `InvalidInput`, and then the link stays good.
    """
    with transaction.atomic(using="accounts", durable=True):
        user, letter = _use(token, RESET)
        if not user.is_of(letter.generation):
            raise InvalidLink  # the password or the role was changed since
        check_password(new, user, field="new")
        user.set_password(new)
        user.verified_at = user.verified_at or timezone.now()
        user.save(update_fields=["password", "verified_at", "updated_at"])
        SignIn.objects.filter(user=user, ended_at=None).update(ended_at=timezone.now())
        guesses.forget(user.email)
        # Who reads the mail of a member of staff signs in as them: that is for their colleagues to know.
        if user.is_staff:
            stafflog.record("accounts", "reset the password by e-mail", f"user {user.pk}")


def _use(token: str, kind: Letter.Kind) -> tuple[User, Letter]:
    """The account that a link is for, and its letter, used up unless the transaction is undone.

    The other letters that were sent there are deleted, and so not counted any more: somebody reads them.
    """
    try:
        letter_id = UUID(_signer().unsign(token))
    except (BadSignature, ValueError):
        raise InvalidLink from None
    good = Letter.objects.select_for_update().filter(kind=kind, used_at=None, expires_at__gt=timezone.now())
    letter = good.filter(pk=letter_id).first()
    user = letter and User.objects.select_for_update().filter(email=letter.email, is_active=True).first()
    if not letter or not user:
        raise InvalidLink
    Letter.objects.filter(pk=letter.pk).update(used_at=timezone.now())
    Letter.objects.filter(email=letter.email, sent_at__isnull=False).exclude(pk=letter.pk).delete()
    return user, letter


# --- Called by notifications, which sends the letters -----------------------------------------------------------------
def claim() -> list[contract.Letter]:
    """Letters to send now, due again after a growing pause unless `sent`. Those that are nobody's are deleted.

    An account gets nothing before its address is confirmed but the letter that asks for it: it gets that instead.
    """
    now = database_time("accounts")
    with transaction.atomic(using="accounts", durable=True):
        due = Letter.objects.select_for_update(skip_locked=True).filter(sent_at=None, due_at__lte=now)
        letters = list(due.filter(expires_at__gt=now).order_by("due_at")[:PORTION])
        found = User.objects.filter(email__in={one.email for one in letters}, is_active=True)
        users = {user.email: user for user in found}
        wanted = [one for one in letters if (user := users.get(one.email)) and _is_wanted(one, user)]
        for one in wanted:
            one.kind = RESET if users[one.email].verified_at else VERIFY
            one.generation = users[one.email].generation()
            one.due_at, one.attempts = now + FIRST_PAUSE * 2**one.attempts, one.attempts + 1
        Letter.objects.bulk_update(wanted, ["kind", "generation", "due_at", "attempts"])
        Letter.objects.filter(pk__in={one.pk for one in letters} - {one.pk for one in wanted}).delete()
    return [
        contract.Letter(
            id=one.pk, kind=one.kind, email=one.email, language=users[one.email].language, token=token_of(one.pk)
        )
        for one in wanted
    ]


def _is_wanted(letter: Letter, user: User) -> bool:
    return user.has_usable_password() and (letter.kind == RESET or not user.verified_at)


def sent(letter_ids: Collection[UUID]) -> None:
    """These letters are with the mail server, or are never to be sent."""
    Letter.objects.filter(pk__in=list(letter_ids), sent_at=None).update(sent_at=database_time("accounts"))

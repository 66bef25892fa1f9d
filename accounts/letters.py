"""E-mails with a link that works once: to confirm an address, and to reset a password.

A request only stores an address, in the same time whether or not there is an account. The account is looked up later,
when notifications claims the letters that are due and sends them. A link contains the letter's id, signed with
SECRET_KEY; the database holds nothing that could be used in its place.
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
# Links are valid at least as long as PER_DAY counts, so that a user who gets no further letter has a valid link.
# Otherwise a stranger who requests all letters of a day and guesses passwords would lock the owner out.
GOOD_FOR = {VERIFY: timedelta(days=3), RESET: A_DAY}
PER_DAY = 5  # letters to one address, of both kinds: the kind is only decided when they are claimed
PORTION = 20  # letters sent between claiming and marking
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
    """This link is not valid: it has expired, was used before, or never existed. Request another one."""

    code = "U003"


def ask_to_verify(email: str) -> bool:
    """Have a link sent that confirms an address; return False if there were too many today. Joins a transaction."""
    return _write(VERIFY, email)


def forgot(email: str) -> None:
    """Request a password-reset link. Takes the same time whether or not the address has an account."""
    _write(RESET, mailbox(email))


def _write(kind: Letter.Kind, email: str) -> bool:
    given = {"kind": kind, "email": email, "good_for": GOOD_FOR[kind], "most": PER_DAY, "day": A_DAY}
    with transaction.atomic(using="accounts"):
        query("accounts", "SELECT pg_advisory_xact_lock(hashtext(%s))", [email])  # counts concurrent requests
        return bool(query("accounts", WRITE, given))


# --- Links ------------------------------------------------------------------------------------------------------------
def _signer() -> Signer:
    return Signer(salt="accounts.letter", sep=".")


def token_of(letter_id: UUID) -> str:
    """Return the token in a letter's link."""
    return _signer().sign(letter_id.hex)


def address_of(token: str) -> str:
    """Return the address that a link confirms. Raises `InvalidLink`."""
    return _good(token, VERIFY).email


def verify(token: str) -> User:
    """Confirm an address, for somebody who has proved that they know the password. Raises `InvalidLink`."""
    with transaction.atomic(using="accounts", durable=True):
        user, _letter = _use(token, VERIFY)
        user.verified_at = user.verified_at or timezone.now()
        user.save(update_fields=["verified_at", "updated_at"])
    return user


def reset(token: str, new: str) -> None:
    """Reset a password. That ends all sign-ins and sessions, and any lockout after wrong guesses.

    A link that confirms an address resets the password, too: perhaps somebody else has opened the account.

    Raises `InvalidLink`; for a weak password `InvalidInput`, after which the link is still valid.
    """
    with transaction.atomic(using="accounts", durable=True):
        user, letter = _use(token, RESET, VERIFY)
        if not user.is_of(letter.generation):
            raise InvalidLink  # the password or the role has changed since
        check_password(new, user, field="new")
        user.set_password(new)
        user.verified_at = user.verified_at or timezone.now()
        user.save(update_fields=["password", "verified_at", "updated_at"])
        SignIn.objects.filter(user=user, ended_at=None).update(ended_at=timezone.now())
        guesses.forget(user.email)
        # Whoever reads a staff member's mail can sign in as them, so this is logged for their colleagues.
        if user.is_staff:
            stafflog.record("accounts", "reset the password by e-mail", f"user {user.pk}")


def _good(token: str, *kinds: Letter.Kind, lock: bool = False) -> Letter:
    try:
        letter_id = UUID(_signer().unsign(token))
    except (BadSignature, ValueError):
        raise InvalidLink from None
    letters = Letter.objects.select_for_update() if lock else Letter.objects.all()
    letter = letters.filter(pk=letter_id, kind__in=kinds, used_at=None, expires_at__gt=timezone.now()).first()
    if not letter:
        raise InvalidLink
    return letter


def _use(token: str, *kinds: Letter.Kind) -> tuple[User, Letter]:
    """Return a link's account and letter. The letter is used up unless the transaction is rolled back.

    The address's other sent letters are deleted and so no longer counted, because somebody reads its mail. The account
    is locked before its letters, everywhere: they cannot deadlock.
    """
    email = _good(token, *kinds).email
    user = User.objects.select_for_update().filter(email=email, is_active=True).first()
    if not user:
        raise InvalidLink
    letter = _good(token, *kinds, lock=True)
    Letter.objects.filter(pk=letter.pk).update(used_at=timezone.now())
    Letter.objects.filter(email=letter.email, sent_at__isnull=False).exclude(pk=letter.pk).delete()
    return user, letter


# --- Called by notifications, which sends the letters -----------------------------------------------------------------
def claim() -> list[contract.Letter]:
    """Return letters to send now, none only if none is due; unless marked as `sent`, they are due again after a growing
    pause.

    Letters without an account are deleted. Until its address is confirmed, an account gets the letter that asks for
    that in place of any other.
    """
    while (claimed := _claim_portion()) == []:
        pass  # nobody else's letter waits for those that strangers have requested for addresses without an account
    return claimed or []


def _claim_portion() -> list[contract.Letter] | None:
    """Claim the letters of one portion that are to be sent; return None if none is due."""
    now = database_time("accounts")
    with transaction.atomic(using="accounts", durable=True):
        due = Letter.objects.select_for_update(skip_locked=True).filter(sent_at=None, due_at__lte=now)
        letters = list(due.filter(expires_at__gt=now).order_by("due_at")[:PORTION])
        if not letters:
            return None
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
    """Record that the mail server has accepted these letters, or that they must never be sent."""
    Letter.objects.filter(pk__in=list(letter_ids), sent_at=None).update(sent_at=database_time("accounts"))

"""The rules of accounts: signing up, signing in, and who a user is. The only code that writes users and tokens."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError

from accounts import guesses, letters, second_factor
from accounts.contacts import mailbox, phone_number
from accounts.models import SignIn, User
from accounts.passwords import check_password
from sagas.db.prepared import query
from sagas.retention import delete_portion
from shop.api.authentication import CUSTOMER, STAFF
from shop.api.problems import Problem
from shop.api.rights import GROUPS, SCOPES
from shop.api.tokens import AccessToken, RefreshToken
from shop.contracts.accounts import Contact, Letter, UnknownUser, UserView

GRACE = timedelta(seconds=10)  # in which the previous refresh token is still valid, for another tab
FOUND = 500  # users that a search returns, at most
KEPT = timedelta(days=1)  # how long an ended sign-in is kept
CONTACTS = """
    SELECT id, name, email, phone, language, verified_at IS NOT NULL FROM accounts_user
    WHERE id = ANY(%s::bigint[]) AND erased_at IS NULL
"""


class EmailTaken(Problem):
    """There is already an account with this e-mail address."""

    code = "U002"


def sign_up(*, email: str, password: str, name: str, phone: str = "", language: str = User.Language.KO) -> User:
    """Create a customer and ask them to confirm the address. Raises `InvalidInput` for a weak password,
    `EmailTaken`."""
    user = User(email=mailbox(email), name=name, phone=phone_number(phone), language=language)
    check_password(password, user, field="password")
    user.set_password(password)
    try:
        with transaction.atomic(using="accounts", durable=True):
            user.save(force_insert=True)
            letters.ask_to_verify(user.email)
    except IntegrityError:
        raise EmailTaken from None
    return user


class WrongCredentials(Problem):
    """E-mail address and password do not match an active account."""

    code = "C006"
    auth_header = 'Bearer realm="api"'


class TokenPair(NamedTuple):
    """A short-lived token for calling the API, and a token for getting the next pair."""

    access: str
    refresh: str


def sign_in(*, email: str, password: str, otp: str = "", request: Any = None) -> TokenPair:
    """Return a first pair of tokens.

    Raises `WrongCredentials`, `TooManyGuesses` by account or the request's address, and for staff what
    `second_factor.insist` raises.
    """
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        _refuse(email, request)
    second_factor.insist(user, otp, request)
    User.objects.filter(pk=user.pk).update(last_login=timezone.now())
    return issue(user)


def confirm_address(*, token: str, password: str, request: Any = None) -> None:
    """Confirm an address by the link that was sent there and the account's password.

    Without the password, somebody could open an account with another's address and have it confirmed by its owner, who
    takes it for their own.

    Raises `InvalidLink`, `WrongCredentials`, `TooManyGuesses`; the link stays valid after a wrong password.
    """
    email = letters.address_of(token)
    if not isinstance(authenticate(request, username=email, password=password), User):
        _refuse(email, request)
    letters.verify(token)


def _refuse(email: str, request: Any) -> NoReturn:
    if wait := guesses.wait(email, request):
        refusal = guesses.TooManyGuesses()
        refusal.wait = wait
        raise refusal
    raise WrongCredentials


class InvalidToken(Problem):
    """The refresh token is not valid, has expired or has been used before."""

    code = "C006"
    auth_header = 'Bearer realm="api"'


def refresh(*, token: str) -> TokenPair:
    """Exchange a refresh token, which is then used up, for the next pair of tokens. Raises `InvalidToken`.

    Within GRACE the previous token gets the latest turn again, as a browser's tabs may refresh at the same time. Any
    other reuse ends the sign-in, as the token may have been stolen. So does a token from before a change of the user's
    password or role.
    """
    used = _read(token)
    with transaction.atomic(using="accounts", durable=True):
        found = SignIn.objects.select_for_update(of=("self",)).select_related("user")
        sign_in = found.filter(pk=used.get("sid"), ended_at=None, expires_at__gt=timezone.now()).first()
        if sign_in is None:
            raise InvalidToken
        pair = _turn(sign_in, used)
        if pair is None:
            SignIn.objects.filter(pk=sign_in.pk).update(ended_at=timezone.now())
    if pair is None:
        raise InvalidToken
    return pair


def _turn(sign_in: SignIn, used: RefreshToken) -> TokenPair | None:
    """Return the next pair; None if the sign-in must be ended."""
    user, turn, now = sign_in.user, used.get("turn"), timezone.now()
    if not user.is_active or not user.is_of(used.get("gen")):
        return None
    if turn == sign_in.turn:
        sign_in.turn += 1
        sign_in.turned_at, sign_in.expires_at = now, now + RefreshToken.lifetime
        sign_in.save(update_fields=["turn", "turned_at", "expires_at"])
    elif turn != sign_in.turn - 1 or now - sign_in.turned_at > GRACE:
        return None
    return _pair(sign_in)


def sign_out(*, token: str) -> None:
    """End the sign-in of a refresh token. Raises `InvalidToken`, also if it has ended already."""
    ended = SignIn.objects.filter(pk=_read(token).get("sid"), ended_at=None).update(ended_at=timezone.now())
    if not ended:
        raise InvalidToken


def sign_out_everywhere(user_id: int) -> None:
    """End all sign-ins and sessions of a user; access tokens are valid until they expire."""
    with transaction.atomic(using="accounts", durable=True):
        User.objects.filter(pk=user_id).update(sign_outs=F("sign_outs") + 1)
        SignIn.objects.filter(user_id=user_id, ended_at=None).update(ended_at=timezone.now())


def change_password(user_id: int, *, old: str, new: str, request: Any = None) -> TokenPair:
    """Change a user's password and end all their sign-ins and sessions; return a new pair of tokens.

    Raises `WrongCredentials` and `TooManyGuesses` for the old password, `InvalidInput` for a weak new one.
    """
    user = confirm(user_id, password=old, request=request)
    check_password(new, user, field="new")
    replace_password(user, new)
    return issue(user)


def replace_password(user: User, new: str) -> None:
    """Set the password of a user who has shown the old one, and end all their sign-ins.

    Raises `WrongCredentials` if the password or the role was changed since the user was read: two requests may be under
    way at once, and a thief's must not undo what the owner has set by e-mail.
    """
    shown = user.generation()
    user.set_password(new)
    with transaction.atomic(using="accounts", durable=True):
        if not User.objects.select_for_update().get(pk=user.pk).is_of(shown):
            raise WrongCredentials
        user.save(update_fields=["password", "updated_at"])
        SignIn.objects.filter(user=user, ended_at=None).update(ended_at=timezone.now())


def confirm(user_id: int, *, password: str, request: Any = None) -> User:
    """Check a signed-in user's password once more; return the user. Raises `WrongCredentials`, `TooManyGuesses`."""
    email = User.objects.values_list("email", flat=True).get(pk=user_id)
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        _refuse(email, request)
    return user


def issue(user: User) -> TokenPair:
    """Issue a pair of tokens to a user who has been authenticated."""
    expires_at = timezone.now() + RefreshToken.lifetime
    return _pair(SignIn.objects.create(user=user, expires_at=expires_at))


def _pair(sign_in: SignIn) -> TokenPair:
    user = sign_in.user
    refresh, access = RefreshToken(), AccessToken()
    for token in (refresh, access):
        token["user_id"], token["role"] = str(user.pk), role_of(user)
    refresh["sid"], refresh["turn"], refresh["gen"] = str(sign_in.pk), sign_in.turn, user.generation()
    if user.is_staff:
        access.set_exp(lifetime=settings.STAFF_TOKEN_LIFETIME)  # so that a lost role takes effect soon
    if scopes := scopes_of(user):
        access["scope"] = " ".join(scopes)
    return TokenPair(access=str(access), refresh=str(refresh))


def _read(token: str) -> RefreshToken:
    """Parse a refresh token that we issued and that has not expired. Raises `InvalidToken`."""
    try:
        return RefreshToken(token)  # type: ignore[arg-type]
    except TokenError:
        raise InvalidToken from None


def purge() -> int:
    """Delete one batch of the sign-ins, guesses, letters and sessions that are over; return the number of rows."""
    now = timezone.now()
    deleted = delete_portion("accounts", "accounts_signin", "expires_at < %s OR ended_at < %s", [now, now - KEPT])
    deleted += delete_portion("accounts", "accounts_guess", "since < %s", [now - guesses.WINDOW])
    deleted += delete_portion("accounts", "accounts_letter", "expires_at < %s", [now - letters.A_DAY])
    ((sessions,),) = query("accounts", "SELECT to_regclass('django_session')::text")  # of the pages, if there are any
    return deleted + (delete_portion("accounts", sessions, "expire_date < %s", [now]) if sessions else 0)


def role_of(user: User) -> str:
    """Return the user's role in tokens: "staff" or "customer"."""
    return STAFF if user.is_staff else CUSTOMER


def scopes_of(user: User) -> list[str]:
    """Return the permissions that a user's tokens carry: those in `SCOPES`, for staff only."""
    return sorted(SCOPES.keys() & user.get_all_permissions()) if user.is_staff else []


class LocalAccounts:
    """`shop.contracts.accounts.AccountsService` on this service's own tables."""

    def get_user(self, user_id: int) -> UserView:
        try:
            return self.get_users([user_id])[user_id]
        except KeyError:
            raise UnknownUser(f"There is no user {user_id}.") from None

    def get_users(self, user_ids: Collection[int]) -> dict[int, UserView]:
        rows = User.objects.filter(pk__in=set(user_ids), erased_at=None).values_list("id", "name", "email", "is_active")
        return {pk: UserView(id=pk, name=name, email=email, active=active) for pk, name, email, active in rows}

    def find_users(self, text: str) -> list[int]:
        users = User.objects.filter(erased_at=None).values_list("pk", flat=True)  # unordered, for the indexes
        by_email, by_name = users.filter(email__startswith=mailbox(text)), users.filter(name__istartswith=text)
        return sorted({*by_email[:FOUND], *by_name[:FOUND]}, reverse=True)[:FOUND]


class LocalContacts:
    """`shop.contracts.accounts.ContactsService` on this service's own tables."""

    def get_contacts(self, user_ids: Collection[int]) -> dict[int, Contact]:
        # Called for every message to customers, so in plain SQL, which takes a third of the ORM's time.
        rows = query("accounts", CONTACTS, [list(set(user_ids))])
        return {
            user_id: Contact(user_id=user_id, name=name, email=email, phone=phone, language=language, verified=verified)
            for user_id, name, email, phone, language, verified in rows
        }

    def get_rights(self, user_ids: Collection[int]) -> dict[int, list[str]]:
        known = {user.pk: scopes_of(user) for user in User.objects.filter(pk__in=set(user_ids), is_active=True)}
        return {user_id: known.get(user_id, []) for user_id in user_ids}

    def claim_letters(self) -> list[Letter]:
        return letters.claim()

    def mark_letters_sent(self, letter_ids: Collection[UUID]) -> None:
        letters.sent(letter_ids)


def make_groups() -> None:
    """Create the groups of `shop/api/rights.py` that do not exist; existing ones keep their changes."""
    with transaction.atomic(using="accounts", durable=True):
        for name, rights in GROUPS.items():
            group, new = Group.objects.get_or_create(name=name)
            if new:
                group.permissions.set(permissions_of(rights))


def permissions_of(rights: Sequence[str]) -> list[Permission]:
    """Return the rows of these permissions. Raises `LookupError` for an unknown one."""
    wanted = set(rights)
    rows = {
        f"{one.content_type.app_label}.{one.codename}": one for one in Permission.objects.select_related("content_type")
    }
    if missing := wanted - rows.keys():
        raise LookupError(f"There are no permissions {', '.join(sorted(missing))}.")
    return [rows[right] for right in wanted]


def seed_users(users: Sequence[Mapping[str, Any]], *, password: str) -> list[str]:
    """Open accounts for users that have none, all with one password; return the addresses of the new ones."""
    with transaction.atomic(using="accounts", durable=True):
        present = set(User.objects.filter(email__in=[one["email"] for one in users]).values_list("email", flat=True))
        missing = [one for one in users if one["email"] not in present]
        if missing:
            hashed = make_password(password)
            now = timezone.now()  # whoever seeds vouches for the addresses
            rows = [User(**one, password=hashed, verified_at=now) for one in missing]
            User.objects.bulk_create(rows, ignore_conflicts=True)
    return [one["email"] for one in missing]

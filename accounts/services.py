"""The rules of accounts: signing up, signing in, and who a user is. The only code that writes users and tokens."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError

from accounts.contacts import mailbox, phone_number
from accounts.models import User
from sagas.db.prepared import query
from shop.api.authentication import CUSTOMER, STAFF
from shop.api.problems import FieldError, InvalidInput, Problem
from shop.api.rights import GROUPS, SCOPES
from shop.api.tokens import RefreshToken
from shop.contracts.accounts import Contact, UnknownUser, UserView

CONTACTS = "SELECT id, name, email, phone, language FROM accounts_user WHERE id = ANY(%s::bigint[])"


class EmailTaken(Problem):
    """There is already an account with this e-mail address."""

    code = "U002"


def sign_up(*, email: str, password: str, name: str, phone: str = "", language: str = User.Language.KO) -> User:
    """A new customer. Raises `InvalidInput` for a weak password, `EmailTaken`."""
    user = User(email=mailbox(email), name=name, phone=phone_number(phone), language=language)
    try:
        validate_password(password, user)
    except ValidationError as weak:
        errors = [FieldError(field="password", value=None, reason=reason) for reason in weak.messages]
        raise InvalidInput("This password is too easy to guess.", errors=errors) from None
    user.set_password(password)
    try:
        with transaction.atomic(using="accounts", durable=True):
            user.save(force_insert=True)
    except IntegrityError:
        raise EmailTaken from None
    return user


class WrongCredentials(Problem):
    """E-mail address and password do not match an active account."""

    code = "C006"
    auth_header = 'Bearer realm="api"'


class TokenPair(NamedTuple):
    """A short-lived token to call the API with, and the one to get the next pair for."""

    access: str
    refresh: str


def sign_in(*, email: str, password: str) -> TokenPair:
    """A first pair of tokens. Raises `WrongCredentials`."""
    user = authenticate(username=email, password=password)
    if not isinstance(user, User):
        raise WrongCredentials
    User.objects.filter(pk=user.pk).update(last_login=timezone.now())
    return issue(user)


class InvalidToken(Problem):
    """The refresh token is not valid, has expired or has been used before."""

    code = "C006"
    auth_header = 'Bearer realm="api"'


def refresh(*, token: str) -> TokenPair:
    """The next pair of tokens for a refresh token, which is then worth nothing. Raises `InvalidToken`."""
    with transaction.atomic(using="accounts", durable=True):
        used = _spend(token)
        user = User.objects.filter(pk=used["user_id"], is_active=True).first()
        pair = issue(user) if user else None
    if pair is None:
        raise InvalidToken
    return pair


def sign_out(*, token: str) -> None:
    """Make a refresh token worth nothing. Raises `InvalidToken`, also when it already was."""
    with transaction.atomic(using="accounts", durable=True):
        _spend(token)


def issue(user: User) -> TokenPair:
    """A pair of tokens for somebody who has shown who they are."""
    token = RefreshToken.for_user(user)
    token["role"] = role_of(user)
    access = token.access_token
    if scopes := scopes_of(user):
        access["scope"] = " ".join(scopes)
    return TokenPair(access=str(access), refresh=str(token))


def _spend(token: str) -> RefreshToken:
    """Blacklist a refresh token. Of two that try at once one wins: the blacklist's row is unique."""
    try:
        spent = RefreshToken(token)  # type: ignore[arg-type]
        first: bool = spent.blacklist()[1]  # type: ignore[index]  # get_or_create's answer
    except TokenError:
        raise InvalidToken from None
    if not first:
        raise InvalidToken
    return spent


def role_of(user: User) -> str:
    """What tokens call a user: "staff" or "customer"."""
    return STAFF if user.is_staff else CUSTOMER


def scopes_of(user: User) -> list[str]:
    """The rights that a user's tokens carry: those of staff that endpoints ask for."""
    return sorted(SCOPES.keys() & user.get_all_permissions()) if user.is_staff else []


class LocalAccounts:
    """`shop.contracts.accounts.AccountsService` on this service's own tables."""

    def get_user(self, user_id: int) -> UserView:
        try:
            return self.get_users([user_id])[user_id]
        except KeyError:
            raise UnknownUser(f"There is no user {user_id}.") from None

    def get_users(self, user_ids: Collection[int]) -> dict[int, UserView]:
        rows = User.objects.filter(pk__in=set(user_ids)).values_list("id", "name", "email", "is_active")
        return {pk: UserView(id=pk, name=name, email=email, active=active) for pk, name, email, active in rows}

    def get_contacts(self, user_ids: Collection[int]) -> dict[int, Contact]:
        # Asked for with each message that customers are told of: by hand, which takes a third of the ORM's time.
        rows = query("accounts", CONTACTS, [list(set(user_ids))])
        return {
            user_id: Contact(user_id=user_id, name=name, email=email, phone=phone, language=language)
            for user_id, name, email, phone, language in rows
        }


def make_groups() -> None:
    """The groups of `shop/api/rights.py`, unless they are there: what was changed about one stays."""
    with transaction.atomic(using="accounts", durable=True):
        for name, rights in GROUPS.items():
            group, new = Group.objects.get_or_create(name=name)
            if new:
                group.permissions.set(_permissions(rights))


def _permissions(rights: Sequence[str]) -> list[Permission]:
    """The rows of rights. Raises `LookupError` for one that there is not."""
    wanted = set(rights)
    rows = {
        f"{one.content_type.app_label}.{one.codename}": one for one in Permission.objects.select_related("content_type")
    }
    if missing := wanted - rows.keys():
        raise LookupError(f"There are no permissions {', '.join(sorted(missing))}.")
    return [rows[right] for right in wanted]


def seed_users(users: Sequence[Mapping[str, Any]], *, password: str) -> list[str]:
    """Open accounts for those that have none, all with one password; the addresses of those opened."""
    with transaction.atomic(using="accounts", durable=True):
        present = set(User.objects.filter(email__in=[one["email"] for one in users]).values_list("email", flat=True))
        missing = [one for one in users if one["email"] not in present]
        if missing:
            hashed = make_password(password)
            User.objects.bulk_create([User(**one, password=hashed) for one in missing], ignore_conflicts=True)
    return [one["email"] for one in missing]

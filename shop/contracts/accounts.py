"""What accounts offers other services."""

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

import msgspec

from shop.contracts.errors import ContractError


class UnknownUser(ContractError):
    """There is no such user."""

    code = "U001"


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """What other services may show of a user. An inactive user is locked out."""

    id: int
    name: str
    email: str
    active: bool = True


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a user, and in which `language` ("ko" or "en"). `phone` may be empty.

    Until the e-mail address is `verified`, only the verification e-mail is sent.
    """

    user_id: int
    name: str
    email: str
    phone: str
    language: str
    verified: bool = True


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """An e-mail about the account itself; `kind` is "VERIFY" or "RESET". Its link contains the secret token."""

    id: UUID
    kind: str
    email: str
    language: str
    token: str


class AccountsService(Protocol):
    """Who users are. Raises `sagas.Unavailable` while accounts is down."""

    def get_user(self, user_id: int) -> UserView:
        """One user. Raises `UnknownUser`."""
        ...

    def get_users(self, user_ids: Collection[int]) -> dict[int, UserView]:
        """The users with these ids, by id; unknown ids are left out."""
        ...

    def find_users(self, text: str) -> list[int]:
        """Ids of users whose e-mail address or name begins with a text, in any case; 500 at most."""
        ...


class ContactsService(Protocol):
    """How users are reached. It is separate from `AccountsService` because a letter's token is as good as a password: a
    service that only looks up users must not get one. Raises `sagas.Unavailable` while accounts is down.
    """

    def get_contacts(self, user_ids: Collection[int]) -> dict[int, Contact]:
        """How to reach the users with these ids, by id; unknown ids are left out."""
        ...

    def get_rights(self, user_ids: Collection[int]) -> dict[int, list[str]]:
        """The API permissions that each of these users has now; none for unknown and locked-out users."""
        ...

    def claim_letters(self) -> list[Letter]:
        """The letters to send now. One that is not reported as sent is given out again after a minute or more."""
        ...

    def mark_letters_sent(self, letter_ids: Collection[UUID]) -> None:
        """Record that the mail server has accepted these letters, or that their address is suppressed."""
        ...

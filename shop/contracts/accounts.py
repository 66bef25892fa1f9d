"""What accounts offers other services."""

from collections.abc import Collection
from typing import Protocol

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
    """How to reach a user, and in which `language` ("ko" or "en"). `phone` may be empty."""

    user_id: int
    name: str
    email: str
    phone: str
    language: str


class AccountsService(Protocol):
    """Reads users. Raises `sagas.Unavailable` while accounts is down."""

    def get_user(self, user_id: int) -> UserView:
        """One user. Raises `UnknownUser`."""
        ...

    def get_users(self, user_ids: Collection[int]) -> dict[int, UserView]:
        """The users with these ids, by id; unknown ids are left out."""
        ...

    def get_contacts(self, user_ids: Collection[int]) -> dict[int, Contact]:
        """How to reach the users with these ids, by id; unknown ids are left out."""
        ...

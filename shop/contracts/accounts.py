"""What accounts offers the other services."""

from collections.abc import Collection
from typing import Protocol

import msgspec

from shop.contracts.errors import ContractError


class UnknownUser(ContractError):
    """There is no such user."""

    code = "U001"


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A user as others may show one. One who is not active is locked out."""

    id: int
    name: str
    email: str
    active: bool = True


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a user, and in which language ("ko" or "en"). `phone` may be empty."""

    user_id: int
    name: str
    email: str
    phone: str
    language: str


class AccountsService(Protocol):
    """Reading users. Raises `sagas.Unavailable` when accounts is away."""

    def get_user(self, user_id: int) -> UserView:
        """One user. Raises `UnknownUser`."""
        ...

    def get_users(self, user_ids: Collection[int]) -> dict[int, UserView]:
        """Those of these users that exist, by id."""
        ...

    def get_contacts(self, user_ids: Collection[int]) -> dict[int, Contact]:
        """How to reach those of these users that exist, by id."""
        ...

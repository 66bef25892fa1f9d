"""Stand-ins for the services that the saga asks synchronously: a catalogue and accounts that live in memory."""

from collections.abc import Container, Iterable
from uuid import UUID

from shop.contracts.accounts import Contact, Letter, UnknownUser, UserView
from shop.contracts.catalog import ProductSnapshot


class Caller:
    """Who calls the API, for `force_authenticate`: with `staff` every right, or those that `rights` names."""

    is_authenticated = is_active = True

    def __init__(self, user_id: int, *, staff: bool = False, rights: Container[str] | None = None) -> None:
        self.id = self.pk = user_id
        self.is_staff = staff or rights is not None
        self._rights = rights

    def has_perm(self, right: str) -> bool:
        return self._rights is None or right in self._rights


class FakeCatalog:
    """Products 1 to 9, at 1,000 won a piece times their id; 9 is no longer sold."""

    def __init__(self, products: Container[int] = range(1, 10)) -> None:
        self._products = products

    def get_products(self, product_ids: Iterable[int]) -> dict[int, ProductSnapshot]:
        return {
            pk: ProductSnapshot(id=pk, name=f"Product {pk}", price=1000 * pk, currency="KRW", active=pk != 9)
            for pk in product_ids
            if pk in self._products
        }


class FakeAccounts:
    """Users 1 to 9, the odd ones Korean."""

    def get_user(self, user_id: int) -> UserView:
        try:
            return self.get_users([user_id])[user_id]
        except KeyError:
            raise UnknownUser from None

    def get_users(self, user_ids: Iterable[int]) -> dict[int, UserView]:
        return {
            pk: UserView(id=pk, name=f"User {pk}", email=f"user{pk}@example.com") for pk in user_ids if 1 <= pk <= 9
        }

    def find_users(self, text: str) -> list[int]:
        return [pk for pk in range(1, 10) if f"user{pk}@example.com".startswith(text.lower())]


class FakeContacts:
    """How the users of `FakeAccounts` are reached; there are no letters."""

    def get_contacts(self, user_ids: Iterable[int]) -> dict[int, Contact]:
        return {
            pk: Contact(user_id=pk, name=user.name, email=user.email, phone="", language="ko" if pk % 2 else "en")
            for pk, user in FakeAccounts().get_users(user_ids).items()
        }

    def get_rights(self, user_ids: Iterable[int]) -> dict[int, list[str]]:
        return {user_id: [] for user_id in user_ids}  # none is staff

    def claim_letters(self) -> list[Letter]:
        return []

    def mark_letters_sent(self, letter_ids: Iterable[UUID]) -> None:
        raise AssertionError("There are none.")

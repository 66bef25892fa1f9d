"""Calls between services: `connect(AccountsService).get_user(7)`.

Who calls knows the contract only. Where its implementation runs is this module's business.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from django.db import connections
from django.db.transaction import TransactionManagementError
from django.utils.module_loading import import_string

from shop.contracts.accounts import AccountsService
from shop.contracts.catalog import CatalogService

T = TypeVar("T")

IMPLEMENTATIONS: Mapping[Any, str] = {
    AccountsService: "accounts.services.LocalAccounts",
    CatalogService: "catalog.services.LocalCatalog",
}

_substitutes: dict[Any, Any] = {}


class CalledInTransaction(TransactionManagementError):
    """Another service was called inside a transaction: its locks would be held for as long as the other takes."""


def connect(contract: Callable[..., T]) -> T:
    """The service behind a contract of `shop.contracts`.

    Its methods raise the errors that the contract declares, and `CalledInTransaction` inside a transaction.
    """
    service = _substitutes.get(contract) or import_string(IMPLEMENTATIONS[contract])()
    return _OutsideTransactions(service)  # type: ignore[return-value]


@contextmanager
def substituting(contract: Any, fake: T) -> Iterator[T]:
    """For tests: `connect(contract)` answers with `fake` within the block."""
    previous = dict(_substitutes)
    _substitutes[contract] = fake
    try:
        yield fake
    finally:
        _substitutes.clear()
        _substitutes.update(previous)


class _OutsideTransactions:
    """A service whose methods refuse to run inside a transaction."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)

        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            for connection in connections.all(initialized_only=True):
                # As Django does for durable=True: the transaction around a test case does not count.
                blocks = connection.atomic_blocks
                if connection.in_atomic_block and not (blocks and getattr(blocks[-1], "_from_testcase", False)):
                    raise CalledInTransaction(f"{name}() was called inside a transaction on {connection.alias!r}.")
            return method(*args, **kwargs)

        return call

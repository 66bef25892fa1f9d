"""Calls between services: `connect(AccountsService).get_user(7)`.

The caller knows the contract only. Its implementation is in this process or, where this process runs one service and
the contract is another's, behind that service's URL (`shop/calls/client.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from django.conf import settings
from django.db import connections
from django.db.transaction import TransactionManagementError
from django.utils.module_loading import import_string

from shop.calls.client import Remote
from shop.contracts.offers import OFFERS

T = TypeVar("T")

_substitutes: dict[Any, Any] = {}


class CalledInTransaction(TransactionManagementError):
    """Another service was called inside a transaction: its locks would be held for as long as the other takes."""


def connect(contract: Callable[..., T], *, of: str = "") -> T:
    """The service behind a contract of `shop.contracts`; `of` names it where every service keeps the contract.

    Its methods raise the errors that the contract declares, `Unavailable` when the service is away, and
    `CalledInTransaction` inside a transaction.
    """
    service = of or OFFERS[contract].service
    if contract in _substitutes:
        kept_by = _substitutes[contract]
    elif service in settings.LOCAL_SERVICES:
        kept_by = implementation(contract, service)
    else:
        kept_by = Remote(contract, service)
    return _OutsideTransactions(kept_by)  # type: ignore[return-value]


def implementation(contract: Any, service: str) -> Any:
    """The object that keeps a contract in this process."""
    offer = OFFERS[contract]
    kept_by = import_string(offer.implementation)
    return kept_by() if offer.service else kept_by(service)


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

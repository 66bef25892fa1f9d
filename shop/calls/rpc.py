"""Calls between services: `connect(AccountsService).get_user(7)`.

The caller knows only the contract. The implementation runs in this process if its service does, otherwise behind that
service's URL (`shop/calls/client.py`).
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
    """A service was called inside a transaction, which would hold its locks until the answer arrives."""


def connect(contract: Callable[..., T], *, of: str = "") -> T:
    """The service behind a contract of `shop.contracts`. `of` names the service if several implement the contract.

    Its methods raise the errors that the contract declares, `Unavailable` while the service is down, and
    `CalledInTransaction` inside a transaction.
    """
    service = of or OFFERS[contract].service
    if contract in _substitutes:
        target = _substitutes[contract]
    elif service in settings.LOCAL_SERVICES:
        target = implementation(contract, service)
    else:
        target = Remote(contract, service)
    return _OutsideTransactions(target)  # type: ignore[return-value]


def implementation(contract: Any, service: str) -> Any:
    """The local implementation of a contract."""
    offer = OFFERS[contract]
    target = import_string(offer.implementation)
    return target() if offer.service else target(service)


@contextmanager
def substituting(contract: Any, fake: T) -> Iterator[T]:
    """For tests: within the block, `connect(contract)` calls `fake`."""
    previous = dict(_substitutes)
    _substitutes[contract] = fake
    try:
        yield fake
    finally:
        _substitutes.clear()
        _substitutes.update(previous)


class _OutsideTransactions:
    """Wraps a service; its methods refuse to run inside a transaction."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)

        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            for connection in connections.all(initialized_only=True):
                # Like Django's durable=True, ignore the transaction around a test case.
                blocks = connection.atomic_blocks
                if connection.in_atomic_block and not (blocks and getattr(blocks[-1], "_from_testcase", False)):
                    raise CalledInTransaction(f"{name}() was called inside a transaction on {connection.alias!r}.")
            return method(*args, **kwargs)

        return call

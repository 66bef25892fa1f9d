"""Asking a payment provider over HTTP: `providers`, with the payment port's answer for what did not come."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import providers
from payments.gateways.base import (
    Authorization,
    Authorizing,
    Done,
    Finding,
    Lookup,
    NotFound,
    Operating,
    Operation,
    Refused,
    Return,
    State,
    Unknown,
)
from providers import Limits, NoAnswer, TooMany, check, retry_after, with_query

__all__ = ["Limits", "NoAnswer", "OneByOne", "Provider", "TooMany", "check", "retry_after", "with_query"]


class Provider(providers.Provider):
    """One account at one payment provider, as this process asks it."""

    def __init__(self, name: str, limits: Limits = Limits(), **clock: Any) -> None:  # noqa: B008 (a tuple)
        super().__init__(name, limits, Unknown, **clock)


class OneByOne(ABC):
    """The port's batches for a provider that has none: one request each, side by side within the provider's limits."""

    provider: Provider

    def authorize(self, requests: Sequence[Authorization]) -> Sequence[Authorizing]:
        return self.provider.each(self._authorize, requests)

    def confirm(self, returns: Sequence[Return]) -> Sequence[Authorizing]:
        return self.provider.each(self._confirm, returns)

    def capture(self, operations: Sequence[Operation]) -> Sequence[Operating]:
        return self.provider.each(self._capture, operations)

    def void(self, operations: Sequence[Operation]) -> Sequence[Operating]:
        return self.provider.each(self._void, operations)

    def refund(self, operations: Sequence[Operation]) -> Sequence[Operating]:
        return self.provider.each(self._refund, operations)

    def find(self, payments: Sequence[Lookup]) -> Sequence[Finding]:
        return self.provider.each(self._find, payments)

    @abstractmethod
    def _authorize(self, request: Authorization) -> Authorizing: ...

    @abstractmethod
    def _confirm(self, came: Return) -> Authorizing: ...

    def _capture(self, operation: Operation) -> Operating:
        """For a provider that cannot hold money: it was taken when the payment was approved, or never will be."""
        found = self._find(Lookup(operation.payment, operation.reference))
        if isinstance(found, State):
            return Done(found.reference) if found.captured >= operation.amount else Refused("PAY003: not paid")
        return Refused("PAY003: no such payment") if isinstance(found, NotFound) else found

    @abstractmethod
    def _void(self, operation: Operation) -> Operating: ...

    @abstractmethod
    def _refund(self, operation: Operation) -> Operating: ...

    @abstractmethod
    def _find(self, sought: Lookup) -> Finding: ...

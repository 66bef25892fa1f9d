"""A provider's list of approvals, read for many questions at once where payments cannot be looked up by our name.

A shop with many customers on the provider's page asks about each of them again and again. Were the list read for each
question, the number of requests would grow with the square of the customers.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

Read = Callable[[datetime], Iterator[tuple[str, str, datetime]]]  # since when; our name, the provider's number, when


class Approvals:
    """What the list has said of the last `keep`. What is new is read again from `overlap` before the last reading."""

    def __init__(self, read: Read, *, keep: timedelta, overlap: timedelta) -> None:
        self._list, self._keep, self._overlap = read, keep, overlap
        self._lock = threading.Lock()
        self._numbers: dict[str, tuple[str, datetime]] = {}
        self._since: datetime | None = None  # complete from then
        self._until = datetime.min.replace(tzinfo=UTC)  # until then
        self._began = 0.0  # the last complete reading, of time.monotonic

    def number(self, payment: str, since: datetime) -> str:
        """Return the provider's number of a payment that may have been approved `since` then; "" if it is not approved
        at the moment of this call. Raises what reading the list raises."""
        asked = time.monotonic()
        with self._lock:
            if payment not in self._numbers:
                if self._since is None or since < self._since:
                    self._read(since - self._overlap)  # the next ones may be a little older
                elif self._began <= asked:  # else somebody who asked meanwhile has read it
                    self._read(max(self._since, self._until - self._overlap))
            number, _ = self._numbers.get(payment, ("", since))
        return number

    def _read(self, start: datetime) -> None:
        began, now = time.monotonic(), datetime.now(UTC)
        for payment, number, at in self._list(start):
            self._numbers[payment] = number, at
        oldest = now - self._keep
        for payment in [payment for payment, (_, at) in self._numbers.items() if at < oldest]:
            del self._numbers[payment]
        self._since = max(start if self._since is None else min(start, self._since), oldest)
        self._until, self._began = now, began

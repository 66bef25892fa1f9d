"""The client, after Jepsen's: it records for each operation whether it was done, was not done, or is unknown.

A status below 500 is definite: 2xx was done, 4xx was not. A refused connection is definite, too: nothing was sent, so
the operation is retried. After a time-out, a broken connection or a 5xx the outcome is unknown: the shop may have done
it. Then the operation is retried with the same Idempotency-Key until the outcome is known.
"""

import heapq
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx

from lab.orders import PlannedOrder

# Seconds. A machine that is gone does not refuse connections, so connecting has a shorter timeout of its own.
TIMEOUT = httpx.Timeout(10.0, connect=2.0)
PATIENCE = 90.0  # seconds to go on trying
PAUSE = 0.25  # seconds between tries
NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
TRY_LATER = {409: "C009", 429: "C007"}  # a first try is still in flight; throttled


class Outcome(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass
class Operation:
    """An operation and what is known of its outcome. Times are seconds since 1970."""

    what: str  # "place", "cancel", "change" or "return"
    planned: PlannedOrder
    began: float
    ended: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN
    tries: int = 0
    order_id: int | None = None
    said: str = ""  # the last status or error


class Client:
    """Places the planned orders from several threads at a steady rate, and later cancels or changes some."""

    def __init__(self, urls: Sequence[str], tokens: Sequence[str], orders: Sequence[PlannedOrder], rate: float) -> None:
        self._urls, self._tokens, self._orders, self._rate = urls, tokens, orders, rate
        self._mutex = threading.Lock()
        self._next = 0
        self._allowed = len(orders)
        self._wanted = 0  # so many in any case
        self._later: list[tuple[float, int, str, Operation]] = []
        self._stopping = threading.Event()
        self.crowded = False  # set from outside: place nothing for now, the shop is behind
        self.operations: list[Operation] = []
        self.began = self.ended = 0.0

    def hold_back(self, count: int) -> None:
        """Do not place the last `count` orders before `release()`."""
        self._allowed = len(self._orders) - count

    def one_more(self) -> None:
        """Place one of the orders that are held back."""
        self._allowed = min(self._allowed + 1, len(self._orders))

    def one_now(self) -> None:
        """Place the next order now: held back or not, and even if the shop is behind."""
        self._wanted = self._next + 1

    def release(self) -> None:
        self._allowed = len(self._orders)

    def enough(self) -> None:
        """Place no more orders."""
        with self._mutex:
            self._orders = self._orders[: self._next]

    def start(self, threads: int) -> None:
        self.began = time.time()
        placing = [threading.Thread(target=self._place_all, daemon=True) for _ in range(threads)]
        thinking = [threading.Thread(target=self._think_again, args=(placing,), daemon=True) for _ in range(2)]
        self._threads = [*placing, *thinking]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()

    @property
    def placed(self) -> int:
        return sum(one.what == "place" for one in self.operations)

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    # --- Placing ------------------------------------------------------------------------------------------------------
    def _place_all(self) -> None:
        with self._http() as http:
            while (planned := self._take()) is not None:
                operation = Operation("place", planned, time.time())
                self.do(http, operation, "/orders", planned.body)
                if operation.order_id is not None:
                    for what, after in (("cancel", planned.cancel_after), ("change", planned.change_after)):
                        if after is not None:
                            with self._mutex:
                                heapq.heappush(self._later, (time.time() + after, planned.number, what, operation))
                self.operations.append(operation)
                self.ended = time.time()

    def _take(self) -> PlannedOrder | None:
        """Wait until the next order is due and return it; None at the end."""
        while not self._stopping.wait(0 if self._next < self._due() else 0.02):
            with self._mutex:
                if self._next >= len(self._orders):
                    return None
                if self._next < self._due():
                    self._next += 1
                    return self._orders[self._next - 1]
        return None

    def _due(self) -> int:
        """Return how many orders may have been placed by now."""
        if self.crowded:
            return max(self._next, self._wanted)
        return max(self._wanted, min(self._allowed, 1 + int((time.time() - self.began) * self._rate)))

    # --- Second thoughts ----------------------------------------------------------------------------------------------
    def _think_again(self, placing: Sequence[threading.Thread]) -> None:
        with self._http() as http:
            while not self._stopping.wait(0.02):
                with self._mutex:
                    if not self._later and not any(thread.is_alive() for thread in placing):
                        return
                    due = heapq.heappop(self._later) if self._later and self._later[0][0] <= time.time() else None
                if due:
                    _, _, what, placed = due
                    operation = Operation(what, placed.planned, time.time(), order_id=placed.order_id)
                    path = f"/orders/{placed.order_id}/{'cancel' if what == 'cancel' else 'changes'}"
                    self.do(http, operation, path, placed.planned.change if what == "change" else None)
                    self.operations.append(operation)

    # --- One operation ------------------------------------------------------------------------------------------------
    @staticmethod
    def _http() -> httpx.Client:
        return httpx.Client(timeout=TIMEOUT, trust_env=False)  # the URLs are local: no proxy

    def do(self, http: httpx.Client, operation: Operation, path: str, body: Any) -> None:
        """Try until the outcome is known, or PATIENCE is over."""
        planned, dice = operation.planned, Random(operation.planned.number)
        headers = {
            "Authorization": f"Bearer {self._tokens[planned.customer]}",
            "Idempotency-Key": str(uuid5(NAMESPACE_URL, f"{planned.marker}/{operation.what}")),
        }
        sent = False
        while not self._stopping.is_set() and time.time() - operation.began < PATIENCE:
            operation.tries += 1
            url = self._urls[(planned.number + operation.tries) % len(self._urls)]
            try:
                answer = http.post(f"{url}/api/v1{path}", json=body, headers=headers)
            except NOTHING_SENT as error:
                operation.said = type(error).__name__
            except httpx.HTTPError as error:
                operation.said, sent = type(error).__name__, True
            else:
                operation.said = str(answer.status_code)
                if answer.status_code < 500 and not _try_later(answer):
                    operation.outcome = Outcome.OK if answer.is_success else Outcome.FAILED
                    if operation.what == "place" and answer.is_success:
                        operation.order_id = answer.json()["id"]
                    break
                sent = sent or answer.status_code >= 500
            time.sleep(PAUSE * dice.uniform(0.5, 1.5))
        else:
            operation.outcome = Outcome.UNKNOWN if sent else Outcome.FAILED
        operation.ended = time.time()


def _try_later(answer: httpx.Response) -> bool:
    return answer.status_code in TRY_LATER and TRY_LATER[answer.status_code] in answer.text

"""What happened to each order, and when; and whether the client itself was the bottleneck.

Every latency counts from when its order was due, not from when it was sent. So a delay in the client counts as well,
and a shop that stalls does not get fewer requests for it (no coordinated omission).
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from lab.loadtest.http import TIMEOUT
from lab.measures import percentiles
from shop.contracts.reasons import code_of

# Any of these in a timeline means that the order is paid: orders may handle the shipment before the payment.
PAID = ("PaymentCompleted", "DeliveryStarted", "DeliveryHandedOver", "DeliveryCompleted")
LATE = 0.02  # seconds that orders may be sent late at the 99th percentile
LATE_SHARE = 0.1  # or this share of the latency
BUSY = 0.85  # the share of a core above which a client with one core is its own bottleneck


@dataclass(slots=True)
class Order:
    """One order of the load. Times are seconds since the load began; None if it did not happen, or was not seen."""

    number: int
    kind: str
    due: float
    sent: float | None = None
    answered: float | None = None  # or when the client gave up waiting
    said: str = ""  # the response's status and code, or why there is none
    order_id: int | None = None  # if it was accepted
    status: str = ""
    reason: str = ""  # of a cancellation
    paid: float | None = None
    ended: float | None = None
    followed: bool = False  # whether its timeline was read

    @property
    def accepted(self) -> bool:
        return self.order_id is not None

    @property
    def ending(self) -> str:
        """How the order ended, for counting: the status, and the code of the reason."""
        if self.status != "CANCELLED":
            return self.status or "not found"
        return f"CANCELLED {code_of(self.reason) or self.reason[:40]}".strip()


class Clock:
    """Turns the shop's times into seconds since the load began.

    An order is written after the request was sent and before the response arrived. So each response bounds the
    difference between the shop's clock and ours, and many of them bound it closely. Nothing is corrected if no
    difference is within the bounds.
    """

    def __init__(self) -> None:
        self.began = time.time()
        self._least, self._most = float("-inf"), float("inf")

    def learn(self, created_at: str, sent: float, answered: float) -> None:
        """Learn from an order: when it was written by the shop's clock, and sent and answered by ours."""
        created = _epoch(created_at) - self.began
        self._least = max(self._least, created - answered)
        self._most = min(self._most, created - sent)

    @property
    def ahead(self) -> float:
        """Seconds that the shop's clock is ahead of ours."""
        if self._least <= 0 <= self._most:
            return 0.0
        if self._least > self._most:  # one of the clocks was set meanwhile
            return (self._least + self._most) / 2
        return self._least if self._least > 0 else self._most

    def since_began(self, moment: str) -> float:
        return _epoch(moment) - self.began - self.ahead


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


# --- Latencies --------------------------------------------------------------------------------------------------------
def answer_times(orders: Iterable[Order]) -> list[float]:
    """Return the response times of accepted orders, and the waiting times of those without a response in time."""
    return [
        one.answered - one.due
        for one in orders
        if one.answered is not None and (one.accepted or one.answered - one.due >= TIMEOUT)
    ]


def paid_times(orders: Iterable[Order]) -> list[float]:
    return [one.paid - one.due for one in orders if one.paid is not None]


def end_times(orders: Iterable[Order], status: str) -> list[float]:
    return [one.ended - one.due for one in orders if one.ended is not None and one.status == status]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return count and percentiles in seconds; only the count if there are no values."""
    return {"count": len(values), **percentiles(values)} if values else {"count": 0}


def latencies(orders: Sequence[Order]) -> dict[str, dict[str, float]]:
    """Return the times from when orders were due until they were answered, paid, completed, cancelled."""
    return {
        "answered": summary(answer_times(orders)),
        "paid": summary(paid_times(orders)),
        "completed": summary(end_times(orders, "COMPLETED")),
        "cancelled": summary(end_times(orders, "CANCELLED")),
    }


def counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def in_flight(orders: Iterable[Order], moments: Sequence[float], until: str) -> list[tuple[float, float]]:
    """Return, for each moment, how many orders were sent but not yet `until` ("answered" or "ended")."""
    changes: list[tuple[float, int]] = []
    for one in orders:
        end = getattr(one, until)
        if one.sent is not None and (until == "answered" or one.accepted):
            changes.append((one.sent, 1))
            if end is not None:
                changes.append((max(end, one.sent), -1))
    changes.sort()
    found, now, place = [], 0, 0
    for moment in moments:
        while place < len(changes) and changes[place][0] <= moment:
            now += changes[place][1]
            place += 1
        found.append((moment, float(now)))
    return found


# --- The client -------------------------------------------------------------------------------------------------------
class Client:
    """How busy this process itself is while the load runs."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.busiest = 0.0  # the share of a core used in the busiest second or so
        self._since = (self._wall, self._cpu)

    def look(self) -> float:
        """Return the share of a core that was used since the last call."""
        wall, cpu = time.perf_counter(), time.process_time()
        share = (cpu - self._since[1]) / max(wall - self._since[0], 1e-9)
        self._since = (wall, cpu)
        self.busiest = max(self.busiest, share)
        return share

    def figures(self, orders: Sequence[Order], load_before: float) -> dict[str, object]:
        """Return the client's figures for the report. `load_before` is the machine's load average before the test."""
        late = percentiles([one.sent - one.due for one in orders if one.sent is not None])
        answers = percentiles(answer_times(orders))
        return {
            "busiest": round(self.busiest, 2),
            "late": late,
            "warnings": [*self._warnings(late["p99"], answers["p99"]), *_busy(load_before)],
        }

    def _warnings(self, late: float, answered: float) -> Iterable[str]:
        if self.busiest > BUSY:
            yield f"the client used {100 * self.busiest:.0f} % of a core, and has only one"
        if late > max(LATE, LATE_SHARE * answered):
            yield f"the client sent orders {1000 * late:.0f} ms late at p99, which is part of the latencies"


def _busy(load: float) -> Iterable[str]:
    """Warn of other work on the machine, which slows down shop and client alike."""
    if load > (cores := os.cpu_count() or 1):
        yield f"the machine had other things to do before it began: a load of {load:.1f} on {cores} cores"

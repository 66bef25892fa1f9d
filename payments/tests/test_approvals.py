"""A list of approvals that is read for many questions at once."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from payments.gateways import approvals
from payments.gateways.approvals import Approvals

MINUTE = timedelta(minutes=1)
SOME = 5


class List:
    """A provider's list; `read_since` are the beginnings of its readings."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, datetime]] = []
        self.read_since: list[datetime] = []
        self.approvals = Approvals(self._read, keep=25 * MINUTE, overlap=MINUTE)

    def approve(self, payment: str, *, at: datetime) -> None:
        self.rows.append((payment, f"number of {payment}", at))

    def _read(self, start: datetime) -> Iterator[tuple[str, str, datetime]]:
        self.read_since.append(start)
        yield from (row for row in self.rows if row[2] >= start)


def test_it_is_read_on_from_where_it_ended():
    now, listed = datetime.now(UTC), List()
    made = now - 10 * MINUTE
    listed.approve("a", at=now - 9 * MINUTE)
    assert listed.approvals.number("a", made) == "number of a"
    assert listed.approvals.number("a", made) == "number of a"
    assert listed.read_since == [made - MINUTE]  # what is known is not read again
    assert listed.approvals.number("b", made) == ""
    listed.approve("b", at=datetime.now(UTC))
    assert listed.approvals.number("b", made) == "number of b"
    assert [now - MINUTE <= start for start in listed.read_since] == [False, True, True]
    assert listed.approvals.number("c", made - 5 * MINUTE) == ""  # reserved before all that was read
    assert listed.read_since[3] == made - 6 * MINUTE


def test_what_is_over_is_forgotten():
    now, listed = datetime.now(UTC), List()
    listed.approve("a", at=now - 26 * MINUTE)
    assert listed.approvals.number("a", now - 30 * MINUTE) == ""


def test_a_reading_that_failed_is_made_again():
    now, listed = datetime.now(UTC), List()
    listed.approve("a", at=now)
    rows, listed.rows = listed.rows, None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        listed.approvals.number("a", now)
    listed.rows = rows
    assert listed.approvals.number("a", now) == "number of a"


def test_all_who_ask_while_it_is_read_share_the_next_reading(monkeypatch: pytest.MonkeyPatch):
    now, listed, asked = datetime.now(UTC), List(), threading.Semaphore(0)
    monotonic, asking = time.monotonic, threading.local()

    def clock() -> float:
        if getattr(asking, "first", False):
            asking.first = False
            asked.release()
        return monotonic()

    def ask() -> None:
        asking.first = True
        answers.append(listed.approvals.number("b", now))

    answers: list[str] = []
    threads = [threading.Thread(target=ask) for _ in range(SOME)]
    read = listed.approvals._list

    def slow(start: datetime) -> Iterator[tuple[str, str, datetime]]:
        if not listed.read_since:
            for thread in threads:
                thread.start()
            for _ in threads:
                assert asked.acquire(timeout=20)
        yield from read(start)

    monkeypatch.setattr(approvals.time, "monotonic", clock)
    listed.approvals._list = slow
    assert listed.approvals.number("a", now) == ""
    for thread in threads:
        thread.join(20)
    assert (len(listed.read_since), answers) == (2, [""] * SOME)

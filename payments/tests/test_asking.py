"""Asking a provider over HTTP: how many at once, how long, and what is left alone."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event, Lock

import pytest

from payments.gateways import Unknown
from payments.gateways.http import Limits, NoAnswer, Provider, TooMany, retry_after


class Asked:
    """Answers n with 10 n, unless it is to do something else; counts what is under way."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.seconds, self.asked, self.most, self._now = seconds, 0, 0, 0
        self.hang, self.failing, self.pauses = Event(), False, 0
        self.hang.set()
        self._lock = Lock()

    def __call__(self, number: int) -> int:
        with self._lock:
            self.asked, self._now = self.asked + 1, self._now + 1
            self.most = max(self.most, self._now)
            pausing, self.pauses = self.pauses > 0, self.pauses - 1
        try:
            self.hang.wait(10)
            if self.failing:
                raise NoAnswer("answered 500")
            if pausing:
                raise TooMany(0.05)
            time.sleep(self.seconds)
            return 10 * number
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider("A", Limits(concurrency=8, stall=0.2, patience=5, probing=0.2))
    yield made
    made.close()


def test_a_batch_is_asked_side_by_side_and_answered_in_its_order(provider):
    ask = Asked(seconds=0.01)
    assert provider.each(ask, range(40)) == [10 * number for number in range(40)]
    assert (ask.asked, 1 < ask.most <= 8) == (40, True)
    assert provider.each(ask, []) == []


def test_who_hangs_is_given_up_left_alone_and_tried_again(provider):
    ask = Asked()
    ask.hang.clear()
    provider.breaker.open_for = 60
    began = time.monotonic()
    assert all(isinstance(answer, Unknown) for answer in provider.each(ask, range(40)))
    assert (ask.asked, provider.breaker.is_closed()) == (8, False)  # the others were not sent
    asked = ask.asked
    assert provider.each(ask, range(40)) == [Unknown("A is away, and is left alone for the moment")] * 40
    assert (ask.asked, time.monotonic() - began < 5) == (asked, True)
    ask.hang.set()
    provider.breaker.open_for = 0
    assert provider.each(ask, range(40)) == [10 * number for number in range(40)]  # three trials, then the rest


def test_who_fails_is_left_alone(provider):
    ask = Asked()
    ask.failing = True
    provider.breaker.open_for = 60
    answers = provider.each(ask, range(40))
    assert answers[0] == Unknown("answered 500")
    assert answers[-1] == Unknown("A is away, and is left alone for the moment")
    assert ask.asked < 20
    ask.failing, provider.breaker.open_for = False, 0
    assert provider.each(ask, range(3)) == [0, 10, 20]


def test_a_pause_that_the_provider_asks_for_is_made(provider):
    ask = Asked()
    ask.pauses = 4
    began = time.monotonic()
    assert provider.each(ask, range(12)) == [10 * number for number in range(12)]
    assert time.monotonic() - began >= 0.05
    assert ask.asked == 16
    assert provider.breaker.is_closed()  # it is there


def test_a_pause_longer_than_the_batch_has_leaves_it_open(provider):
    def ask(number: int) -> int:
        raise TooMany(60)

    assert provider.each(ask, range(3)) == [Unknown("A takes no more requests at the moment")] * 3


def test_no_more_than_so_many_a_second():
    provider, ask = Provider("A", Limits(concurrency=8, per_second=200)), Asked()
    began = time.monotonic()
    provider.each(ask, range(60))
    assert time.monotonic() - began >= (60 - 20 - 1) / 200  # after a burst of a tenth of a second's
    provider.close()


def test_one_answer_that_cannot_be_understood_costs_no_other(provider, caplog):
    def ask(number: int) -> int:
        return {2: 20, 3: 30}[number]

    assert provider.each(ask, [1, 2, 3]) == [Unknown("an answer that cannot be understood"), 20, 30]
    assert "cannot be understood" in caplog.text


def test_providers_have_threads_of_their_own(provider):
    hanging, other = Asked(), Provider("B", Limits(concurrency=2))
    hanging.hang.clear()
    provider.each(hanging, range(8))
    assert other.each(Asked(), range(4)) == [0, 10, 20, 30]
    hanging.hang.set()
    other.close()


@pytest.mark.parametrize(("said", "seconds"), [("3", 3.0), ("0.5", 0.5), ("", 1.0), ("soon", 1.0), ("-1", 0.0)])
def test_retry_after(said, seconds):
    assert retry_after(said) == seconds


def test_retry_after_as_a_date():
    later = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < retry_after(format_datetime(later, usegmt=True)) <= 30


def test_limits_are_options():
    assert Limits.of({"concurrency": "3", "stall": "1.5", "secret_key": "x"}, Limits()) == Limits(3, stall=1.5)
    with pytest.raises(ValueError, match="many"):
        Limits.of({"concurrency": "many"}, Limits())

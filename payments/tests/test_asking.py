"""Asking a provider over HTTP: how many at once, how long, and what is left alone."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Barrier, Event, Lock

import pytest

from payments.gateways import Unknown
from payments.gateways.http import Limits, NoAnswer, Provider, TooMany, retry_after

AT_ONCE = 8  # requests that a provider's threads send
LIMITS = Limits(concurrency=AT_ONCE, stall=30, patience=30, probing=30)
IMPATIENT = Limits(concurrency=AT_ONCE, stall=0.1, patience=30, probing=0.1)


class Clock:
    """Stands still, except while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self._lock = 1000.0, Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


class Asked:
    """Answers n with 10 n, unless it is to do something else; counts what it is asked."""

    def __init__(self, *, meet: Callable[[], object] = lambda: None) -> None:
        self.meet, self.asked = meet, 0
        self.hang, self.failing, self.pauses = Event(), False, 0
        self.hang.set()
        self._lock = Lock()

    def __call__(self, number: int) -> int:
        with self._lock:
            self.asked += 1
            pausing, self.pauses = self.pauses > 0, self.pauses - 1
        self.hang.wait(10)
        self.meet()
        if self.failing:
            raise NoAnswer("answered 500")
        if pausing:
            raise TooMany(0.05)
        return 10 * number


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(clock: Clock) -> Iterator[Provider]:
    made = Provider("A", LIMITS, clock=clock, sleep=clock.sleep)
    yield made
    made.close()


def test_a_batch_is_asked_side_by_side_and_answered_in_its_order(provider):
    meeting = Barrier(AT_ONCE, timeout=10)  # broken unless so many are asked at once
    assert provider.each(Asked(meet=meeting.wait), range(40)) == [10 * number for number in range(40)]
    assert provider.each(Asked(), []) == []


def test_who_hangs_is_given_up_left_alone_and_tried_again(provider, clock):
    ask = Asked()
    ask.hang.clear()
    provider.breaker.open_for = 60
    provider.limits = IMPATIENT
    assert all(isinstance(answer, Unknown) for answer in provider.each(ask, range(40)))
    assert not provider.breaker.is_closed()
    assert provider.each(ask, range(40)) == [Unknown("A is away, and is left alone for the moment")] * 40
    assert ask.asked <= AT_ONCE  # the others were not sent
    ask.hang.set()
    provider.limits = LIMITS
    clock.sleep(60)
    assert provider.each(ask, range(40)) == [10 * number for number in range(40)]  # three trials, then the rest


def test_who_fails_is_left_alone(provider, clock):
    ask = Asked()
    ask.failing = True
    provider.breaker.open_for = 60
    answers = provider.each(ask, range(40))
    assert answers[0] == Unknown("answered 500")
    assert answers[-1] == Unknown("A is away, and is left alone for the moment")
    assert ask.asked < 20
    ask.failing = False
    clock.sleep(60)
    assert provider.each(ask, range(3)) == [0, 10, 20]


def test_a_pause_that_the_provider_asks_for_is_made(provider, clock):
    ask = Asked()
    ask.pauses = 4
    began = clock()
    assert provider.each(ask, range(12)) == [10 * number for number in range(12)]
    assert clock() >= began + 0.05
    assert ask.asked == 16
    assert provider.breaker.is_closed()  # it is there


def test_a_pause_longer_than_the_batch_has_leaves_it_open(provider):
    def ask(number: int) -> int:
        raise TooMany(60)

    assert provider.each(ask, range(3)) == [Unknown("A takes no more requests at the moment")] * 3


def test_no_more_than_so_many_a_second(clock):
    began, sent = clock(), []
    provider = Provider("A", Limits(concurrency=1, per_second=200), clock=clock, sleep=clock.sleep)
    provider.each(lambda _: sent.append(clock() - began), range(60))
    assert sent[:20] == [0.0] * 20  # a burst of a tenth of a second's
    assert sent[21:] == pytest.approx([(number - 20) / 200 for number in range(21, 60)])
    provider.close()


def test_one_answer_that_cannot_be_understood_costs_no_other(provider, caplog):
    def ask(number: int) -> int:
        return {2: 20, 3: 30}[number]

    assert provider.each(ask, [1, 2, 3]) == [Unknown("an answer that cannot be understood"), 20, 30]
    assert "cannot be understood" in caplog.text


def test_providers_have_threads_of_their_own(provider):
    hanging, other = Asked(), Provider("B", LIMITS)
    hanging.hang.clear()
    provider.limits = IMPATIENT
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

"""The circuit breaker, on a clock that a test moves."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.calls.breaker import CLOSED, HALF_OPEN, OPEN, OPENED, STATE, Breaker, CircuitOpen


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("test", clock=clock)


class Boom(Exception):
    pass


def good() -> str:
    return "good"


def bad() -> str:
    raise Boom


def play(breaker: Breaker, outcomes: str) -> str:
    """Make calls: + succeeds, - fails. Returns which of them were made, the others as a dot."""

    def one(outcome: str) -> str:
        try:
            breaker.call(good if outcome == "+" else bad)
        except Boom:
            return "-"
        except CircuitOpen:
            return "."
        return "+"

    return "".join(map(one, outcomes))


def state(breaker: Breaker) -> str:
    return breaker.snapshot()["state"]


@pytest.mark.parametrize(
    ("outcomes", "made", "then"),
    [
        ("----", "----", CLOSED),  # too few to judge
        ("-----+", "-----.", OPEN),
        ("+++--", "+++--", CLOSED),
        ("+++---+", "+++---.", OPEN),  # half of six
        ("++++++++++----", "++++++++++----", CLOSED),  # four of the last ten
        ("++++++++++-----+", "++++++++++-----.", OPEN),  # the ten that count begin later: half of them
        ("+-" * 3, "+-+-+-", OPEN),
        ("++-" * 10, "++-" * 10, CLOSED),
    ],
)
def test_when_it_opens(breaker: Breaker, outcomes: str, made: str, then: str):
    assert (play(breaker, outcomes), state(breaker)) == (made, then)


def test_an_open_circuit_closes_by_itself_after_three_good_trials(breaker: Breaker, clock: Clock):
    play(breaker, "-----")
    clock.now = 9.9
    assert play(breaker, "+++") == "..."
    assert breaker.snapshot()["retry_after"] == 0.1
    clock.now = 10.0
    assert play(breaker, "++") == "++"
    assert state(breaker) == HALF_OPEN
    assert play(breaker, "+") == "+"
    assert state(breaker) == CLOSED
    assert play(breaker, "----") == "----"  # what was before does not count any more


def test_one_bad_trial_opens_it_for_another_while(breaker: Breaker, clock: Clock):
    play(breaker, "-----")
    clock.now = 10.0
    assert play(breaker, "+-+") == "+-."
    clock.now = 19.9
    assert play(breaker, "+") == "."
    clock.now = 20.0
    assert play(breaker, "+++") == "+++"
    assert state(breaker) == CLOSED


def in_threads(count: int, function: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_no_more_than_three_try_at_once(breaker: Breaker, clock: Clock):
    play(breaker, "-----")
    clock.now = 10.0
    inside, leave, refused = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def slow() -> None:
        inside.release()
        leave.wait()

    def attempt() -> None:
        try:
            breaker.call(slow)
        except CircuitOpen:
            refused.release()

    threads = in_threads(20, attempt)
    assert all(inside.acquire(timeout=10) for _ in range(3))
    assert all(refused.acquire(timeout=10) for _ in range(17))
    leave.set()
    for thread in threads:
        thread.join()
    assert state(breaker) == CLOSED


def test_who_began_before_has_no_say_after(breaker: Breaker, clock: Clock):
    """A call that hung while the circuit opened and was tried again is no trial."""

    def slow_failure() -> None:
        play(breaker, "-----")
        clock.now = 10.0
        assert play(breaker, "+") == "+"
        assert state(breaker) == HALF_OPEN
        raise Boom

    with pytest.raises(Boom):
        breaker.call(slow_failure)
    assert state(breaker) == HALF_OPEN
    assert play(breaker, "++") == "++"
    assert state(breaker) == CLOSED


def test_being_told_to_end_is_no_failure_and_uses_up_no_trial(breaker: Breaker, clock: Clock):
    def interrupted() -> None:
        raise KeyboardInterrupt

    play(breaker, "-----")
    clock.now = 10.0
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            breaker.call(interrupted)
    assert play(breaker, "+++") == "+++"
    assert state(breaker) == CLOSED


def test_metrics_say_so(clock: Clock):
    opened = OPENED.labels("metrics")._value.get()
    breaker = Breaker("metrics", clock=clock)
    values = []
    for now, outcomes in ((0, "+"), (0, "-----"), (10, "+"), (10, "++")):
        clock.now = now
        play(breaker, outcomes)
        values.append(STATE.labels("metrics")._value.get())
    assert values == [0, 2, 1, 0]
    assert OPENED.labels("metrics")._value.get() == opened + 1


@given(st.lists(st.tuples(st.sampled_from("+-"), st.floats(0, 6))))
def test_it_never_stays_open_for_good(steps: list[tuple[str, float]]):
    """Whatever happened: when the other side is well again, calls pass, at the latest after being left alone once."""
    clock = Clock()
    breaker = Breaker("test", clock=clock)
    for outcome, pause in steps:
        play(breaker, outcome)
        clock.now += pause
    for _ in range(2):  # what had failed before may still open it on the first good call
        clock.now += 11.0
        play(breaker, "+++")
    assert play(breaker, "+" * 10) == "+" * 10

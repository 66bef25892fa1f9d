"""The distributed lock: all keys or none, its own only, and never in the way of the work."""

import threading

import pytest
import redis
from django.conf import settings
from django_redis import get_redis_connection

from shop import locks
from shop.locks import WITHOUT_LOCK, distributed_lock, holding

KEYS = ("test:lock:a", "test:lock:b")
A = f"{settings.PREFIX}{KEYS[0]}"  # as it is in Redis


@pytest.fixture(autouse=True)
def _no_locks_left():
    locks._ask_again_at = 0.0
    yield
    locks._ask_again_at = 0.0
    assert held() == set()


def held() -> set[str]:
    keys = get_redis_connection("locks").keys(f"{settings.PREFIX}test:lock:*")
    return {key.decode().removeprefix(settings.PREFIX) for key in keys}


def count(why: str) -> float:
    return WITHOUT_LOCK.labels(why)._value.get()


def test_all_keys_are_held_within_the_block_and_for_a_lease_only():
    with holding(*KEYS, lease=3) as got:
        assert got
        assert held() == set(KEYS)
        assert all(0 < get_redis_connection("locks").pttl(settings.PREFIX + key) <= 3000 for key in KEYS)
    assert held() == set()


def test_all_or_none():
    before = count("timeout")
    with holding(KEYS[1]), holding(*KEYS, wait=0) as got:
        assert not got
        assert held() == {KEYS[1]}
    assert count("timeout") == before + 1


def test_several_keys_cost_one_round_trip_each_way(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    client = get_redis_connection("locks")
    real = client.execute_command
    monkeypatch.setattr(client, "execute_command", lambda *args, **kw: calls.append(args[0]) or real(*args, **kw))
    monkeypatch.setattr(locks, "get_redis_connection", lambda _: client)

    with holding(*KEYS):
        assert calls == ["EVAL"]
    assert calls == ["EVAL", "EVAL"]


def test_who_waits_gets_the_lock_when_it_is_free():
    inside, release = threading.Event(), threading.Event()

    def first() -> None:
        with holding(KEYS[0]):
            inside.set()
            release.wait(5)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5)
    threading.Timer(0.05, release.set).start()
    with holding(KEYS[0], wait=5) as got:
        assert got
        assert release.is_set()  # not before the other had left
    thread.join()


def test_a_lock_that_went_to_somebody_else_is_not_taken_from_them(caplog: pytest.LogCaptureFixture):
    client = get_redis_connection("locks")
    with holding(KEYS[0]):
        client.set(A, "another holder, after our lease had ended")

    assert client.get(A) == b"another holder, after our lease had ended"
    assert "had ended before the work did" in caplog.text
    client.delete(A)


def test_a_first_try_whose_answer_was_lost_is_no_obstacle(monkeypatch: pytest.MonkeyPatch):
    token = "ours"
    get_redis_connection("locks").set(A, token)  # the lost try did take the lock

    assert locks._acquire((A,), token, wait=0, lease=3)

    locks._release((A,), token)


def test_without_redis_the_work_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    nobody = redis.Redis(port=1, socket_connect_timeout=0.2)
    asked: list[str] = []
    monkeypatch.setattr(locks, "get_redis_connection", lambda name: asked.append(name) or nobody)
    before, done = count("redis_away"), []

    for _ in range(3):  # once is enough to know it for a while
        with holding(*KEYS) as got:
            done.append(got)

    assert done == [False, False, False]
    assert asked == ["locks"]
    assert count("redis_away") == before + 3
    assert caplog.text.count("Redis is away") == 1

    monkeypatch.undo()
    locks._ask_again_at = 0.0  # the while is over
    with holding(*KEYS) as got:
        assert got


def test_an_error_within_the_block_frees_the_lock():
    with pytest.raises(ZeroDivisionError), holding(*KEYS):
        raise ZeroDivisionError


def test_nothing_to_lock_asks_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "get_redis_connection", lambda _: 1 / 0)
    with holding() as got:
        assert not got


def test_a_function_locks_what_its_arguments_say():
    @distributed_lock(lambda names: [f"test:lock:{name}" for name in names])
    def work(names: list[str]) -> set[str]:
        return held()

    assert work(["a", "b"]) == set(KEYS)
    assert held() == set()

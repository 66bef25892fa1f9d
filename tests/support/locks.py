"""Who waits for whose locks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections, transaction

from tests.support.processes import eventually

T = TypeVar("T")


def somebody_waits_for_us(service: str) -> bool:
    """Whether another connection to this service's database waits for what this one holds."""
    with connections[service].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


def in_another_session(call: Callable[[], T]) -> T:
    """What a call returns in a thread, whose connections are closed after it."""
    try:
        return call()
    finally:
        connections.close_all()


def take_turns(service: str, first: Callable[[], object], other: Callable[[], T], second: Callable[[], object]) -> T:
    """In one transaction take the first lock, have another session wait for it, and take the second; what the other
    session's call returns. If that holds the second lock by then, one of the two is aborted as a deadlock."""
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using=service):
            first()
            waiting = pool.submit(in_another_session, other)
            eventually(lambda: waiting.done() or somebody_waits_for_us(service))
            second()
        return waiting.result(timeout=30)

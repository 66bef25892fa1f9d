"""Crashes: what a test has happen where the code passes a `crash_point`.

`CRASH_AT=step.committed` ends the process at the first pass of that point, `CRASH_AT=step.committed:3` at the third; it
is obeyed only under `CRASH_POINTS=1`, which nothing but tests sets.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, partialmethod
from typing import Any

from kombu.message import Message

from sagas import crash_points

EXIT_CODE = 66

_passes: Counter[str] = Counter()


class Crash(BaseException):
    """The process ends here. Not an Exception, so that no handler can survive it."""


@contextmanager
def calling(on_pass: Callable[[str], None]) -> Iterator[None]:
    """For simulations: call `on_pass(name)` at every boundary within the block; it may raise."""
    previous, crash_points.on_pass = crash_points.on_pass, on_pass
    try:
        yield
    finally:
        crash_points.on_pass = previous


def obey_environment() -> None:
    """End this process where CRASH_AT says."""
    if os.environ.get("CRASH_POINTS") == "1" and os.environ.get("CRASH_AT"):
        Message.ack = partialmethod(_acknowledge, Message.ack)  # type: ignore[method-assign, assignment]
        Message.reject = partialmethod(_reject, Message.reject)  # type: ignore[method-assign, assignment]
        wanted, _, number = os.environ["CRASH_AT"].partition(":")
        crash_points.on_pass = partial(_end_process, wanted, int(number or 1))


def _end_process(wanted: str, number: int, name: str) -> None:
    if name == wanted:
        _passes[name] += 1
        if _passes[name] == number:
            os.write(2, f"CRASH_AT {name}: process {os.getpid()} ends here\n".encode())
            os._exit(EXIT_CODE)


# Celery acknowledges a worker's message, and rejects one that cannot be read: that is not the kernel's code.
def _acknowledge(message: Any, acknowledge: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    crash_points.crash_point("worker.done")
    acknowledge(message, *args, **kwargs)
    crash_points.crash_point("worker.acknowledged")


def _reject(message: Any, reject: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    crash_points.crash_point("worker.refused")
    reject(message, *args, **kwargs)
    crash_points.crash_point("worker.rejected")

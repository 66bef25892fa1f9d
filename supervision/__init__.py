"""Ends a process that hangs, shows its supervisor that it is alive, and ends it in time when it is told to stop.

The main loop of a worker, a relay or beat calls `alive()`. If it has not done so for `HANGS_AFTER` seconds, the process
dumps the stacks of its threads and exits, and its supervisor starts it again. Nothing is lost by that: its message was
not acknowledged. The kernel's relay calls `alive()` by its hooks; `supervision.worker` and `supervision.beat` are named
in `celeryconfig.py`.

`settings.HEARTBEAT_FILE`, for probes, holds the time of the last heartbeat in seconds since boot: that clock is never
adjusted, and a shell can read it from /proc/uptime.
"""

import faulthandler
import os
import sys
import threading
import time
from pathlib import Path

from django.conf import settings
from django.dispatch import Signal

HANGS_AFTER = 45.0  # seconds
EVERY = 1.0  # seconds between two heartbeats, at least
TOLD_TO_END_BUT_STILL_AT_WORK = 1  # exit code

ticked = Signal()  # beat has sent a timer's tick, and the broker has confirmed it

_watched = False
_next = 0.0


def watch() -> None:
    """End this process from now on if its loop hangs."""
    global _watched, _next
    _watched, _next = True, 0.0
    alive()


def alive() -> None:
    """Record a heartbeat of this process's loop."""
    global _next
    if time.monotonic() < _next:
        return
    _next = time.monotonic() + EVERY
    if _watched:
        # The next call cancels this. Celery replaces sys.stderr by a logger, which cannot be used here.
        faulthandler.dump_traceback_later(HANGS_AFTER, file=sys.__stderr__ or 2, exit=True)
    if path := settings.HEARTBEAT_FILE:
        fresh = Path(f"{path}.new")
        fresh.write_text(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.0f}\n")
        fresh.replace(path)  # atomically, so that a reader always finds a number


def end_in_time() -> None:
    """End this process, which was told to stop, after `settings.SHUTDOWN_GRACE` seconds, whatever it still waits for.

    A worker's message is then not acknowledged, and goes to another worker; a relay's rows go to another relay when its
    lease expires. Celery by itself would wait for the step, which during an outage takes as long as the outage.
    """
    timer = threading.Timer(settings.SHUTDOWN_GRACE, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    # Bypass everything that may hang, including logging. The operating system ends a worker's children with it.
    waited = f"{settings.SHUTDOWN_GRACE:g} s"
    os.write(2, f"Ended after {waited} with work in hand, which another process takes over\n".encode())
    os._exit(TOLD_TO_END_BUT_STILL_AT_WORK)

"""That a process which hangs is ended, that whoever supervises it sees it alive, and that it ends when it is asked to.

The loop of a worker, a relay or beat calls `alive()`. When it has not come round for `HANGS_AFTER` seconds, the process
ends, saying where each of its threads was, and its supervisor starts it again. Nothing is lost by that: its message was
not acknowledged. The kernel's relay calls it by its hooks; `supervision.worker` and `supervision.beat` are named in
`celeryconfig.py`.

`settings.HEARTBEAT_FILE`, for probes, holds when the loop last came round, in seconds since the machine was started: by
a clock that nobody sets, and that a shell reads from /proc/uptime.
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
    """From now on this process is ended when its loop hangs."""
    global _watched, _next
    _watched, _next = True, 0.0
    alive()


def alive() -> None:
    """The loop of this process has come round once more."""
    global _next
    if time.monotonic() < _next:
        return
    _next = time.monotonic() + EVERY
    if _watched:
        # Unless this comes again by then. Celery puts a logger into the place of sys.stderr, which cannot be used here.
        faulthandler.dump_traceback_later(HANGS_AFTER, file=sys.__stderr__ or 2, exit=True)
    if path := settings.HEARTBEAT_FILE:
        fresh = Path(f"{path}.new")
        fresh.write_text(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.0f}\n")
        fresh.replace(path)  # whoever reads it finds a number


def end_in_time() -> None:
    """This process was asked to end: after `settings.SHUTDOWN_GRACE` seconds it is ended, whatever it still waits for.

    A worker's message is not acknowledged then, and goes to another worker; a relay's rows are another's when its lease
    is over. Celery itself waits for the step, which in an outage takes as long as the outage.
    """
    timer = threading.Timer(settings.SHUTDOWN_GRACE, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    # Past everything that may hang, logging included. The kernel ends a worker's children with it.
    waited = f"{settings.SHUTDOWN_GRACE:g} s"
    os.write(2, f"Ended after {waited} with work in hand, which another process takes over\n".encode())
    os._exit(TOLD_TO_END_BUT_STILL_AT_WORK)

"""Stops what can no longer write on a machine whose disk is full, so that other machines take over.

Neither of them stops by itself. A primary database refuses all writes and remains primary: Patroni asks whether it
runs. A RabbitMQ node loses its members of the queues, and goes on to accept connections: what the queues deliver to
consumers that are connected to it arrives nowhere, and is not delivered to others until they disconnect.

    python disk_guard.py DISK
"""

import os
import signal
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

PRIMARY = "http://127.0.0.1:8008/primary"  # Patroni's answer is 200 on the primary's machine only
ENOUGH = 4 << 20  # bytes
LOOK_EVERY = 1.0  # seconds


def is_full(disk: Path) -> bool:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize < ENOUGH


def is_primary() -> bool:
    with suppress(OSError), urllib.request.urlopen(PRIMARY, timeout=2) as answer:  # nosec B310 (our own)
        return bool(answer.status == 200)
    return False


def stop(pid_file: Path, how: signal.Signals) -> None:
    """End the server that has written its process id there, if it runs."""
    with suppress(OSError, ValueError, IndexError):
        os.kill(int(pid_file.read_text().split()[0]), how)
        print(f"The disk is full: {pid_file.parent} is stopped", flush=True)


def look(disk: Path) -> None:
    if not is_full(disk):
        return
    if is_primary():
        # Immediate shutdown: a checkpoint would need space. Patroni then releases the leader's key at once.
        stop(disk / "postgres/data/postmaster.pid", signal.SIGQUIT)
    stop(disk / "rabbitmq/pid", signal.SIGKILL)


if __name__ == "__main__":
    while True:
        look(Path(sys.argv[1]))
        time.sleep(LOOK_EVERY)

"""Ends what is of no use any more on a machine and does not notice by itself, so that other machines take over.

Without space on its disk a primary database refuses all writes and remains primary: Patroni asks whether it runs. A
RabbitMQ node without space loses its members of the queues, and goes on to accept connections: what the queues deliver
to consumers that are connected to it arrives nowhere, and is not delivered to others until they disconnect.
And a RabbitMQ node that was heard by some of the others only may wait for them forever, with its port closed.

    python guard.py DISK
"""

import os
import signal
import socket
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

PRIMARY = "http://127.0.0.1:8008/primary"  # Patroni's answer is 200 on the primary's machine only
BROKER = ("127.0.0.1", 5672)
ENOUGH = 4 << 20  # bytes
LOOK_EVERY = 1.0  # seconds
DEAF_FOR = 60.0  # seconds: a node takes as long to start when a machine is busy


def is_full(disk: Path) -> bool:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize < ENOUGH


def is_primary() -> bool:
    with suppress(OSError), urllib.request.urlopen(PRIMARY, timeout=2) as answer:  # nosec B310 (our own)
        return bool(answer.status == 200)
    return False


def is_deaf() -> bool:
    """Whether the broker takes no connections."""
    with suppress(OSError), socket.create_connection(BROKER, timeout=2):
        return False
    return True


def stop(pid_file: Path, how: signal.Signals) -> None:
    """End the server that has written its process id there, if it runs; its supervisor starts it again."""
    with suppress(OSError, ValueError, IndexError):
        os.kill(int(pid_file.read_text().split()[0]), how)
        print(f"{pid_file.parent} is ended", flush=True)


class Guard:
    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self._heard_at = time.monotonic()  # of the broker

    def look(self) -> None:
        if is_full(self.disk):
            if is_primary():
                # Immediate shutdown: a checkpoint would need space. Patroni then releases the leader's key at once.
                stop(self.disk / "postgres/data/postmaster.pid", signal.SIGQUIT)
            self._end_broker()
        elif not is_deaf():
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at > DEAF_FOR:
            self._end_broker()

    def _end_broker(self) -> None:
        stop(self.disk / "rabbitmq/pid", signal.SIGKILL)
        self._heard_at = time.monotonic()


if __name__ == "__main__":
    guard = Guard(Path(sys.argv[1]))
    while True:
        guard.look()
        time.sleep(LOOK_EVERY)

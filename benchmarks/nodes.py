"""Nodes: network namespaces that reach nothing but the servers, each through a link of its own."""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.link import HOST, within
from benchmarks.surroundings import Helper, Unfit

PREFIX = "shopbench"  # of their names, before the process id
PINGS = 100


class Link(Helper):
    title = "The link of a node"

    def __init__(self, namespace: str, ports: Sequence[int]) -> None:
        self.namespace, self._port = namespace, ports[-1]
        super().__init__(
            sys.executable, "-m", "benchmarks.link", namespace, *(str(port) for port in ports), environment={}
        )

    def set(self, round_trip: float) -> None:
        """In ms, for what is sent from now on."""
        self.ask(str(round_trip / 2000))

    def round_trip(self) -> float:
        """The median of some, in ms, as a program on the node finds it."""
        took = []
        with within(self.namespace), socket.create_connection((HOST, self._port), timeout=10) as redis:
            for _ in range(PINGS):
                began = time.perf_counter()
                redis.sendall(b"PING\r\n")
                redis.recv(64)
                took.append(1000 * (time.perf_counter() - began))
        return statistics.median(took)


def server_ports() -> list[int]:
    """Of PostgreSQL, RabbitMQ and Redis, that last. Raises `Unfit` when one is not on this machine."""
    ports = []
    for name, standard in (("DATABASE_URL", 5432), ("BROKER_URL", 5672), ("LOCKS_URL", 6379)):
        url = urlsplit(os.environ[name])
        if url.hostname not in (HOST, "localhost"):
            raise Unfit(f"{name} leads to {url.hostname}. Nodes are linked to servers on {HOST} only.")
        ports.append(url.port or standard)
    return ports


def refuse_without_namespaces() -> None:
    """Raises `Unfit` where they cannot be made."""
    if not shutil.which("ip"):
        raise Unfit("`ip` is not installed. On Debian or Ubuntu: apt-get install iproute2")
    if os.geteuid():
        raise Unfit("Network namespaces are made by root only: run this with sudo.")


def ip(*arguments: str) -> str:
    """What `ip` prints. Raises `Unfit`."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Unfit(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    """Network namespaces with a loopback interface and nothing else; deleted afterwards."""
    drop_leftovers()
    names = [f"{PREFIX}{os.getpid()}-{number + 1}" for number in range(count)]
    made: list[str] = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in made:
            ip("netns", "delete", name)


def drop_leftovers() -> None:
    """Delete what runs that were killed outright have left."""
    for line in ip("netns", "list").splitlines():
        name = line.split()[0]
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not Path("/proc", pid).exists():
            ip("netns", "delete", name)

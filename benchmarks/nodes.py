"""Nodes: network namespaces that can reach only the servers, each through its own link."""

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
        """Set the round trip in ms for everything sent from now on."""
        self.ask(str(round_trip / 2000))

    def round_trip(self) -> float:
        """Return the median round trip in ms, as measured on the node."""
        took = []
        with within(self.namespace), socket.create_connection((HOST, self._port), timeout=10) as redis:
            for _ in range(PINGS):
                began = time.perf_counter()
                redis.sendall(b"PING\r\n")
                redis.recv(64)
                took.append(1000 * (time.perf_counter() - began))
        return statistics.median(took)


def server_ports() -> list[int]:
    """Return the ports of PostgreSQL, RabbitMQ and, last, Redis. Raises `Unfit` if one is not on this machine."""
    ports = []
    for name, standard in (("DATABASE_URL", 5432), ("BROKER_URL", 5672), ("LOCKS_URL", 6379)):
        url = urlsplit(os.environ[name])
        if url.hostname not in (HOST, "localhost"):
            raise Unfit(f"{name} leads to {url.hostname}. Nodes are linked to servers on {HOST} only.")
        ports.append(url.port or standard)
    return ports


def refuse_without_namespaces() -> None:
    """Raise `Unfit` if namespaces cannot be created."""
    if not shutil.which("ip"):
        raise Unfit("`ip` is not installed. On Debian or Ubuntu: apt-get install iproute2")
    if os.geteuid():
        raise Unfit("Network namespaces are made by root only: run this with sudo.")


def ip(*arguments: str) -> str:
    """Run `ip`; return its output. Raises `Unfit`."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Unfit(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    """Create network namespaces with only a loopback interface; delete them afterwards."""
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
    """Delete what killed runs have left behind."""
    for line in ip("netns", "list").splitlines():
        name = line.split()[0]
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not Path("/proc", pid).exists():
            ip("netns", "delete", name)

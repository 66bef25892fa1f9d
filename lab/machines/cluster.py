"""Three machines as one cluster: started, whole or not, stopped."""

import contextlib
import json
import os
import shutil
import signal
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Lock, Thread
from types import SimpleNamespace
from typing import Any, Self

import redis
from amqp.exceptions import AMQPError
from django.core.management import call_command
from django.db import connections
from kombu import Connection
from rich.console import Console

from lab.machines.machine import SUBNET, Machine, Network
from lab.machines.programs import LIBRARIES, programs
from lab.machines.software import AS_TOLD, WEB, Software
from lab.rig.servers import VHOST, CannotStart, kill_group, launch, until
from lab.rig.system import HOME

NAMES = ("m1", "m2", "m3")
ADDRESSES = [f"{SUBNET}.{number}" for number in (1, 2, 3)]
REDIS = ADDRESSES[0]
STARTED_WITHIN = 240.0  # seconds
LOOK_EVERY = 0.2


def environment() -> dict[str, str]:
    """Return the servers' addresses as environment variables. Processes on a machine try its own broker first."""
    return {
        "DATABASE_URL": "postgres://postgres@127.0.0.1:5000/",
        "BROKER_URL": ";".join(f"amqp://guest:guest@{address}:5672/{VHOST}" for address in ADDRESSES),
        "LOCKS_URL": f"redis://{REDIS}:6379/1",
        "CACHE_URL": f"redis://{REDIS}:6379/2",
        "ALLOWED_HOSTS": "*",
    }


class Cluster:
    """A context manager: the machines run within it, with a shop that has no orders."""

    def __init__(self, *, console: Console, keep: bool = False, clocks: bool = True) -> None:
        """With `clocks`, the machines' clocks can be moved."""
        self.home, self.console, self.keep, self._clocks = Path(os.environ[HOME]), console, keep, clocks
        self.urls = [f"http://{address}:{WEB}" for address in ADDRESSES]
        self.machines: list[Machine] = []
        self.redis = SimpleNamespace(client=redis.Redis(REDIS, db=1, socket_timeout=2, socket_connect_timeout=2))
        self._exits = ExitStack()
        self._ending, self._mutex = Event(), Lock()
        self._supervisor = Thread(target=self._supervise, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException as error:
            self.keep = self.keep or not isinstance(error, KeyboardInterrupt)
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    @property
    def restarts(self) -> int:
        return sum(process.restarts for machine in self.machines for process in machine.services)

    # --- Start and end ------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        self._exits.callback(self._remove)
        self.say(f"Three machines, in namespaces of this command's own, with their disks below {self.home}")
        needed = programs()
        Network(self.home / "hosts", NAMES)
        self.machines = [Machine(number, self.home) for number in (1, 2, 3)]
        self._exits.callback(self._switch_off)
        self.software = software = Software(self.machines, needed, clocks=self._clocks)
        for machine in self.machines:
            for install in (software.etcd, software.postgres, software.haproxy, software.guard):
                install(machine)
        software.redis(self.machines[0])
        software.rabbitmq(self.machines[0])
        own = launch(
            software.haproxy_command(self.home),
            self.home / "haproxy.log",
            AS_TOLD | {"LD_LIBRARY_PATH": str(LIBRARIES)},
        )
        self._exits.callback(kill_group, own)
        for machine in self.machines:
            machine.switch_on()
        self._supervisor.start()
        self._exits.callback(self._ending.set)
        try:
            until(lambda: _takes_clients(self.machines[0]), "the start of RabbitMQ", seconds=STARTED_WITHIN, pause=1)
            for machine in self.machines[1:]:  # they join the first
                software.rabbitmq(machine)
            until(lambda: len(self.whole()) == 3, "three of everything", seconds=STARTED_WITHIN, pause=1)
            self.say("  etcd, PostgreSQL and RabbitMQ on each, Redis on the first")
            self._exits.callback(connections.close_all)
            with (self.home / "migrate.log").open("w") as log:
                call_command("migrate_all", verbosity=0, stdout=log)
            for machine in self.machines:
                software.shop(machine)
            until(lambda: all(map(_serves, self.urls)), "an answer from each", seconds=STARTED_WITHIN, pause=1)
        except TimeoutError as error:
            raise CannotStart(f"{error}; see the logs below {self.home}") from error
        self.say("  a web server, a worker and a relay on each, beat on two")

    def _stop(self) -> None:
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        self._exits.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def _switch_off(self) -> None:
        with self._mutex:
            for machine in self.machines:
                machine.switch_off()
                machine.scrap()

    def _remove(self) -> None:
        if self.keep:
            self.say(f"Logs stay in {self.home}")
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    def _supervise(self) -> None:
        while not self._ending.wait(LOOK_EVERY):
            with self._mutex:
                for machine in self.machines:
                    machine.look()

    def switch_off(self, machine: Machine) -> None:
        with self._mutex:
            machine.switch_off()

    def switch_on(self, machine: Machine) -> None:
        with self._mutex:
            machine.switch_on()

    # --- How it is ----------------------------------------------------------------------------------------------------
    def members(self) -> list[dict[str, Any]]:
        """Return Patroni's members, as the first machine that answers sees them."""
        for machine in self.machines:
            with contextlib.suppress(OSError, ValueError):
                return list(json.loads(_read(f"http://{machine.address}:8008/cluster"))["members"])
        return []

    def primary(self) -> Machine:
        """Return the machine with the primary database. Raises TimeoutError."""
        found: list[Machine] = []

        def there_is_one() -> bool:
            leaders = [one["name"] for one in self.members() if one["role"] == "leader"]
            found[:] = [machine for machine in self.machines if machine.name in leaders]
            return bool(found)

        until(there_is_one, "a primary", seconds=60, pause=0.5)
        return found[0]

    def whole(self) -> list[Machine]:
        """Return the healthy machines: their database runs or streams, and their etcd and broker answer."""
        as_they_should = {("leader", "running"), ("quorum_standby", "streaming"), ("replica", "streaming")}
        well = {one["name"] for one in self.members() if (one["role"], one["state"]) in as_they_should}
        return [
            machine
            for machine in self.machines
            if machine.name in well and _is_healthy(f"http://{machine.address}:2379/health") and _takes_clients(machine)
        ]

    def becomes_whole(self, seconds: float) -> float:
        """Wait until all machines are healthy; return how long that took. Raises TimeoutError."""
        began = time.monotonic()
        until(
            lambda: len(self.whole()) == 3 and all(map(_serves, self.urls)), "a whole cluster", seconds=seconds, pause=1
        )
        return time.monotonic() - began


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 (our own)  # nosec B310
        return bytes(answer.read())


def _is_healthy(url: str) -> bool:
    with contextlib.suppress(OSError):
        return b'"true"' in _read(url)
    return False


def _serves(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(_read(f"{url}/readyz"))
    return False


def _takes_clients(machine: Machine) -> bool:
    """Whether a machine's broker accepts connections."""
    url = f"amqp://guest:guest@{machine.address}:5672/{VHOST}"
    with contextlib.suppress(AMQPError, OSError), Connection(url, connect_timeout=2) as connection:
        connection.connect()
        return True
    return False

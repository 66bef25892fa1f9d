"""The shop's processes, as in Procfile, and a supervisor that restarts those that have died."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread

import psutil  # type: ignore[import-untyped]
from django.conf import settings

from lab.rig.servers import HOST, kill_group, launch, until

RESTART_AFTER = 1.0  # seconds from a death until the next start, as systemd or Kubernetes would wait
LOOK_EVERY = 0.1
TROUBLE = "0.1"  # the share of a provider's requests that fail
QUEUE_SETS = ("accounts,inventory,orders", "payments,delivery,notifications")


class Process:
    """One of the shop's processes, across its restarts."""

    def __init__(self, name: str, role: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self.role = name, role
        self._command, self._environment, self._log = command, environment, log
        self._running: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self._died_at = 0.0
        self.restarts = 0

    def start(self) -> None:
        self._running = launch(self._command, self._log, self._environment, cwd=settings.BASE_DIR)
        self.pid = self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def children(self) -> list[int]:
        """Return the ids of its child processes."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        return []

    def look(self) -> None:
        """If it has died, kill the children that it left behind, and restart it a moment later."""
        if self._running is None or self._running.poll() is None:
            return
        if not self._died_at:
            self._died_at = time.monotonic()
            kill_group(self._running)  # as systemd and Kubernetes do with what a dead main process leaves
        elif time.monotonic() - self._died_at >= RESTART_AFTER:
            self._died_at = 0.0
            self.restarts += 1
            self.start()

    def end(self) -> None:
        """Kill it and its children: nothing that they hold is needed any more."""
        if self._running is not None:
            kill_group(self._running)


class Processes:
    """All of the shop's processes, and their supervisor."""

    def __init__(self, home: Path, web_ports: list[int], *, providers: Sequence[str] = ()) -> None:
        """`providers` are gateways whose stand-ins are processes, too."""
        logs = home / "logs"
        logs.mkdir(exist_ok=True)
        python, environment = sys.executable, dict(os.environ)

        def process(name: str, role: str, *command: str, **more: str) -> Process:
            return Process(name, role, [python, *command], environment | more, logs / f"{name}.log")

        celery = ("-m", "celery", "-A", "shop")
        self.all = [
            *(
                process(
                    f"web-{port}", "web", "-m", "granian", "--interface", "wsgi", "--host", HOST, "--port", str(port),
                    "--workers", "1", "--blocking-threads", "4", "shop.wsgi:application",
                )
                for port in web_ports
            ),
            *(
                process(
                    f"worker-{queues.replace(',', '-')}", "worker", *celery, "worker", "-Q", queues,
                    "-n", f"{queues.replace(',', '-')}@%h", "--concurrency", "2", "-l", "WARNING",
                )
                for queues in QUEUE_SETS
            ),
            *(process(f"relay-{number}", "relay", "manage.py", "relay") for number in (1, 2)),
            process("beat", "beat", *celery, "beat", "--pidfile=", "-l", "WARNING"),
            *(
                process(
                    f"provider-{name}", "provider", "manage.py", "standins", "--only", name, "--trouble", TROUBLE,
                    DEBUG="1",
                )
                for name in providers
            ),
        ]  # fmt: skip
        self._stopping = Event()
        self._mutex = Lock()
        self._supervisor = Thread(target=self._supervise, name="supervisor", daemon=True)

    def of(self, role: str) -> list[Process]:
        return [process for process in self.all if process.role == role]

    def one_of(self, role: str, dice: Random) -> Process:
        """Return one that is running: the id of a dead one may belong to another process by now."""
        until(lambda: all(process.alive for process in self.of(role)), f"every {role} to run")
        return dice.choice(self.of(role))

    def give_up(self, role: str) -> list[Process]:
        """End the processes of a role for good; return them."""
        ended = self.of(role)
        with self._mutex:
            self.all = [process for process in self.all if process.role != role]
        for process in ended:
            process.end()
        return ended

    def hearing(self, queue: str) -> Process:
        """Wait for the worker that consumes a queue to run, and return it."""
        until(lambda: all(process.alive for process in self.of("worker")), "every worker to run")
        return next(
            one for one, queues in zip(self.of("worker"), QUEUE_SETS, strict=True) if queue in queues.split(",")
        )

    @property
    def restarts(self) -> int:
        return sum(process.restarts for process in self.all)

    def start(self) -> None:
        for process in self.all:
            process.start()
        self._supervisor.start()

    def _supervise(self) -> None:
        while not self._stopping.wait(LOOK_EVERY):
            with self._mutex:
                for process in self.all:
                    if not self._stopping.is_set():
                        process.look()

    def stop(self) -> None:
        self._stopping.set()
        with self._mutex:  # nothing is being started now
            for process in self.all:
                process.end()

"""The shop's processes, forked from one that has loaded everything and waits: a tenth of a second instead of two.

A forked worker has no children (Celery's solo pool) and the web process is waitress; all else is as it is deployed.
They end as their CRASH_AT says, and with the tests.
"""

import ctypes
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest.mock import patch

import django
from celery import current_app
from celery.signals import worker_ready
from django.core.management import call_command
from waitress.server import create_server

from sagas.conf import choreography
from sagas.testing.crashes import obey_environment
from tests.support.processes import PATIENCE, PR_SET_PDEATHSIG, eventually

django.setup()  # here, and in the process that is forked
current_app.loader.import_default_modules()
for module in ("celery.bin.worker", "celery.apps.worker", "celery.concurrency.solo", "shop.urls", "shop.wsgi"):
    importlib.import_module(module)

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["pytest", __name__])  # pytest, for it may be the main module, which a fork imports


def worker(queues: tuple[str, ...] = choreography().services) -> None:
    worker_ready.connect(lambda **_: print(READY[worker], flush=True), weak=False)
    options = ("-Q", ",".join(queues), "-n", f"fork{os.getpid()}@test", "-P", "solo", "-c", "1", "-l", "WARNING")
    current_app.worker_main(["worker", *options, "--without-heartbeat"])


def inventory_worker() -> None:
    worker(("inventory",))


def relay() -> None:
    call_command("relay")


def web() -> None:
    from shop.wsgi import application

    server = create_server(application, host="127.0.0.1", port=0, threads=2)
    print(f"listening on {server.effective_port}.", flush=True)
    server.run()


READY = {worker: "working", inventory_worker: "working", relay: "Relaying", web: "listening on "}


def begin(environment: Mapping[str, str]) -> None:
    """Start the process that is forked, in the environment that all forks have."""
    with patch.dict(os.environ, environment, clear=True):
        multiprocessing.forkserver.ensure_running()


class Fork:
    """One process."""

    def __init__(self, role: Callable[[], None], log: Path, **environment: str) -> None:
        self.role, self.path, self.name = role, log, log.stem
        log.touch()
        self._process: ForkServerProcess = FORKING.Process(target=_become, args=(role, log, environment))
        self._process.start()

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def news(self) -> str:
        """What it has written, for the report of a test that fails."""
        return self.log

    def is_ready(self) -> None:
        """Wait until it works."""
        eventually(lambda: READY[self.role] in self.log or not self._process.is_alive())
        assert READY[self.role] in self.log, self.log

    @property
    def port(self) -> int:
        """Where a web process listens."""
        return int(self.log.partition(READY[web])[2].partition(".")[0])

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    def ends(self) -> int | None:
        """Wait for its end; the exit code."""
        self._process.join(PATIENCE)
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL: nothing can be finished or told to anybody."""
        self._process.kill()
        self._process.join()


def _become(role: Callable[[], None], log: Path, environment: Mapping[str, str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with log.open("ab") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    os.environ.update(environment)
    obey_environment()
    role()

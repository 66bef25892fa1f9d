"""A temporary PostgreSQL, RabbitMQ and Redis: on free loopback ports, below one directory.

Nothing else on the machine is touched: RabbitMQ has its own port mapper, cookie and plug-ins, too.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis
from amqp.exceptions import AMQPError, NotFound
from kombu import Connection

from embedded.server import Server
from sagas.topology import queues

HOST = "127.0.0.1"
PATIENCE = 120.0  # seconds for a server to start, on a machine that has other work
VHOST = "shop"


class CannotStart(Exception):
    """A server cannot be started; the message says why, and what to do."""


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def until(condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE, pause: float = 0.1) -> None:
    """Return when the condition holds. Raises TimeoutError."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(pause)


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def launch(
    command: Sequence[str | Path], log: Path, environment: dict[str, str], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process in its own session: Ctrl-C does not reach it, and its children can be killed with it."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, **options,
        )  # fmt: skip


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a launched process and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Postgres(Server):
    """The wheel's PostgreSQL on a TCP port. It is restarted on purpose here, so it has no guardian."""

    def __init__(self, home: Path, port: int) -> None:
        super().__init__(home)
        self.port = port

    def start(self) -> None:
        """Create the cluster if it does not exist, and start it."""
        if self.is_new:
            self.home.mkdir(parents=True)
            self._give(self.home)
            self._create()
        self.log.touch()
        self._give(self.log)
        options = f"-p {self.port} -k '' -c listen_addresses={HOST} -c max_connections=500"
        self._run(
            "pg_ctl", "start", "-w", "-t", f"{PATIENCE:.0f}", "-D", str(self.data), "-l", str(self.log), "-o", options
        )

    def restart(self, mode: str) -> None:
        """Restart the server. As in pg_ctl, "fast" rolls transactions back, "immediate" is a crash with recovery."""
        self._run("pg_ctl", "stop", "-w", "-t", f"{PATIENCE:.0f}", "-m", mode, "-D", str(self.data))
        self.start()

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-w", "-t", f"{PATIENCE:.0f}", "-m", "immediate", "-D", str(self.data))


class Redis:
    """A Redis without persistence: it loses its data when it stops, as after the loss of a cache node."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(host=HOST, port=port, socket_timeout=5)

    def start(self) -> None:
        binary = shutil.which("redis-server")
        if not binary:
            raise CannotStart("redis-server is not installed: run `make services`, or apt-get install redis-server.")
        self.home.mkdir(parents=True, exist_ok=True)
        options = [
            "--port",
            str(self.port),
            "--bind",
            HOST,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(self.home),
        ]
        self._process = launch([binary, *options], self.home / "log", dict(os.environ))
        until(lambda: listening(self.port), "the start of Redis")

    def stop(self) -> None:
        if self._process is not None:
            kill_group(self._process)


class RabbitMQ:
    """A RabbitMQ node, started without Debian's wrapper, which requires root and changes the user."""

    def __init__(self, home: Path, port: int, dist_port: int, epmd_port: int) -> None:
        self.home, self.port = home, port
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd_port = epmd_port
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")} | {
            "HOME": str(home),  # of the cookie that lets rabbitmqctl in
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"chaos{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "logs"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the node, instead of waiting for it
            "LC_ALL": "C.UTF-8",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}/{VHOST}"

    def start(self) -> None:
        """Start the node, or restart it on its data."""
        if self._epmd is None:
            self._prepare()
        self._node = launch([_rabbit("rabbitmq-server"), "-noinput"], self.home / "log", self._environment)
        until(self._ready, "the start of RabbitMQ", pause=0.2)

    def _prepare(self) -> None:
        epmd = shutil.which("epmd")
        if not epmd:
            raise CannotStart("Erlang's epmd is not installed: it comes with Debian's rabbitmq-server.")
        _rabbit("rabbitmq-server")
        self.home.mkdir(parents=True)
        (self.home / "env.conf").touch()  # stands in for the machine's own
        (self.home / "rabbitmq.conf").write_text(f"default_vhost = {VHOST}\n")
        (self.home / "enabled_plugins").write_text("[].\n")
        command = [epmd, "-address", HOST, "-port", str(self._epmd_port)]
        self._epmd = launch(command, self.home / "epmd.log", self._environment)
        until(lambda: listening(self._epmd_port), "the start of epmd")

    def _ready(self) -> bool:
        """Whether the node accepts clients. Raises CannotStart if it has ended."""
        if self._node is None or self._node.poll() is not None:
            raise CannotStart(f"RabbitMQ ended while it started; {self.home / 'log'} says why.")
        with contextlib.suppress(AMQPError, OSError), Connection(self.url, connect_timeout=5) as connection:
            connection.connect()
            return True
        return False

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl; return its output. Raises CalledProcessError."""
        command = [_rabbit("rabbitmqctl"), *arguments]
        done = subprocess.run(
            command, env=self._environment, check=True, capture_output=True, text=True, timeout=PATIENCE,
            start_new_session=True,
        )  # fmt: skip
        return done.stdout

    def close_connections(self) -> str:
        return self.ctl("close_all_connections", "-p", VHOST, "chaos").splitlines()[-1]

    def wipe(self) -> None:
        """Delete the vhost with its queues and their messages, and create it again, empty."""
        self.ctl("delete_vhost", VHOST)
        self.ctl("add_vhost", VHOST)
        self.ctl("set_permissions", "-p", VHOST, "guest", ".*", ".*", ".*")

    def purge(self, queue: str) -> int:
        """Empty a queue; return the number of messages."""
        with Connection(self.url, connect_timeout=5) as connection:
            return connection.channel().queue_purge(queue)

    def waiting(self, queue: str) -> int:
        """Return how many messages in a queue are not delivered to any consumer."""
        with Connection(self.url, connect_timeout=5) as connection:
            return connection.channel().queue_declare(queue, passive=True).message_count

    def all_consumed(self) -> bool:
        """Whether each of the shop's queues exists and has a consumer."""
        with Connection(self.url, connect_timeout=5) as connection:
            try:
                channel = connection.channel()
                return all(channel.queue_declare(one.name, passive=True).consumer_count for one in queues())
            except NotFound:
                return False

    def kill(self) -> int:
        """Kill the node with SIGKILL; return its process id."""
        node = self._node
        if node is None:
            raise RuntimeError("The node was never started.")
        kill_group(node)
        return node.pid

    def stop(self) -> None:
        for process in (self._node, self._epmd):
            if process is not None:
                kill_group(process)


def _rabbit(program: str) -> str:
    for place in (f"/usr/lib/rabbitmq/bin/{program}", shutil.which(program)):
        if place and Path(place).exists():
            return place
    raise CannotStart(f"{program} is not installed: run `make services`, or apt-get install rabbitmq-server.")

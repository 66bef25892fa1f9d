"""The three servers that the shop needs: how each is reached, and how it is started if it is missing.

A server that answers is used: the one in DATABASE_URL, BROKER_URL or REDIS_URL, else the one on its standard port. A
missing server is started by Docker or, as root on Debian, installed and started from Debian's packages.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import kombu
import psycopg2
import redis
from amqp.exceptions import AMQPError, NotAllowed

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "var" / "services"
LOCALHOST = "127.0.0.1"
RABBIT_NODE = "rabbit@localhost"  # a fresh machine's own name need not resolve, and a node cannot start without


class Failure(Exception):
    """Something that the user has to fix; the text says what and how."""


def say(text: str) -> None:
    print(f"services: {text}", file=sys.stderr, flush=True)


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run quietly. With `check`, a failure shows the command's output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if check and done.returncode:
        raise Failure(f"`{' '.join(command[:4])} …` failed:\n{done.stdout.strip()}")
    return done


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOCALHOST, port), timeout=1):
        return True
    return False


# —— What this script remembers between runs: what it started, and the URLs that hold a password it made ——————————————


class Memory:
    """`var/services/state.json`, readable by its owner only."""

    path = STATE / "state.json"

    def __init__(self) -> None:
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.started: dict[str, str] = known.get("started", {})
        self.urls: dict[str, str] = known.get("urls", {})

    def save(self) -> None:
        write_private(self.path, {"started": self.started, "urls": self.urls})


def write_private(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=2)


# —— The two ways to start what is missing ———————————————————————————————————————————————————————————————————————————


@cache
def docker_ready() -> bool:
    return bool(shutil.which("docker")) and run("docker", "info", check=False).returncode == 0


@cache
def debian_ready() -> bool:
    return os.geteuid() == 0 and bool(shutil.which("apt-get"))


def systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def apt_install(package: str, *, start: bool = True) -> None:
    """Install a Debian package. Its service is started only with `start`, and if systemd is running."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    command = ("apt-get", "install", "-y", "--no-install-recommends", package)
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not (start and systemd()) and not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        if run(*command, check=False, env=environment).returncode:  # most often: no package lists yet
            run("apt-get", "update", check=False, env=environment)
            run(*command, env=environment)
    finally:
        if ours:
            policy.unlink()


class Server:
    """One of the three: how to reach it, and how to start it."""

    name: str
    title: str
    port: int
    variable: str  # the environment variable that names it
    package: str
    binary: str  # exists if the Debian package is installed
    image: str

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.container = f"shop-services-{self.name}"

    def probe(self, url: str) -> str:
        """Try to use the server; return the reason if that fails, else an empty string."""
        raise NotImplementedError

    def default_urls(self) -> list[str]:
        raise NotImplementedError

    def docker_options(self) -> list[str]:
        return []

    def docker_arguments(self) -> list[str]:
        """Return the arguments of the program in the container."""
        return []

    def docker_url(self, port: int) -> str:
        raise NotImplementedError

    def start_debian(self) -> None:
        raise NotImplementedError

    def stop_debian(self) -> None:
        raise NotImplementedError

    def find(self) -> str:
        """Find or start a server; return its URL."""
        url = os.environ.get(self.variable, "")
        if url:
            reason = self.probe(url)
            if reason:
                raise Failure(
                    f"{self.variable} names a {self.title} that cannot be used: {reason}\nPut it right or unset it."
                )
            say(f"{self.title}: using {hidden(url)}, named by {self.variable}")
            return url
        url, reason = self.reach()
        if url:
            say(f"{self.title}: found at {hidden(url)}")
            return url
        if docker_ready():
            say(f"{self.title}: starting {self.image} in Docker (the first time it downloads the image) ...")
            url = self.start_docker()
            how = "docker"
        elif debian_ready() and not listening(self.port):
            doing = "starting" if shutil.which(self.binary) else "installing and starting"
            say(f"{self.title}: {doing} Debian's {self.package} ...")
            if not shutil.which(self.binary):
                apt_install(self.package)
            self.start_debian()
            url = self.wait()
            how = "debian"
        else:
            raise Failure(self.how_to(reason))
        self.memory.started[self.name] = how
        self.memory.urls[self.name] = url
        self.memory.save()
        say(f"{self.title}: running at {hidden(url)}; `make down` stops it")
        return url

    def reach(self) -> tuple[str, str]:
        """Return the first usable URL, or why the last one is not usable."""
        reason = ""
        remembered = self.memory.urls.get(self.name)
        for url in ([remembered] if remembered else []) + self.default_urls():
            reason = self.probe(url)
            if not reason:
                return url, ""
        return "", reason

    def wait(self, seconds: int = 90) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            url, reason = self.reach()
            if url:
                return url
            time.sleep(0.3)
        raise Failure(f"{self.title} was started but cannot be used after {seconds} s: {reason}")

    def start_docker(self) -> str:
        """Start our container on a free loopback port. An existing container keeps its data."""
        if run("docker", "inspect", self.container, check=False).returncode == 0:
            run("docker", "start", self.container)
        else:
            published = ["-p", f"{LOCALHOST}::{self.port}"]
            run(
                "docker",
                "run",
                "-d",
                "--name",
                self.container,
                *published,
                *self.docker_options(),
                self.image,
                *self.docker_arguments(),
            )
        mapped = run("docker", "port", self.container, f"{self.port}/tcp").stdout.split()[0]
        url = self.docker_url(int(mapped.rpartition(":")[2]))
        for _ in range(300):
            if not self.probe(url):
                return url
            time.sleep(0.3)
        logs = run("docker", "logs", "--tail", "20", self.container, check=False).stdout
        raise Failure(f"{self.title} does not answer in Docker:\n{logs}")

    def stop(self, how: str) -> None:
        if how == "docker":
            run("docker", "stop", self.container)
        else:
            self.stop_debian()

    def how_to(self, reason: str) -> str:
        return f"""no {self.title} can be used ({reason.strip()}). One of these gives one:
  1. Start a server, or name it:  export {self.variable}={self.default_urls()[0]}
  2. Start a Docker engine that `docker info` reaches; {self.image} will be run there.
  3. On Debian or Ubuntu run this as root; the package {self.package} will be installed and started."""


def hidden(url: str) -> str:
    """Return the URL without its password, for output."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url


class Postgres(Server):
    name, title, port, variable = "postgres", "PostgreSQL", 5432, "DATABASE_URL"
    package, binary, image = "postgresql", "pg_ctlcluster", "postgres:17-alpine"
    connections = "max_connections=300"  # as docker-compose.yml has it; the runs of `make test` need more than 100

    # Created if no other role can be used. There is one per checkout, because a lost password is reset, which must not
    # lock another checkout out.
    role = f"shop_{sha256(str(ROOT).encode()).hexdigest()[:8]}"

    def default_urls(self) -> list[str]:
        return [f"postgres://postgres@{LOCALHOST}:{self.port}/"]

    def probe(self, url: str) -> str:
        try:
            with postgres(url) as cursor:
                cursor.execute(
                    "SELECT rolcreatedb AND rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
                )
                if cursor.fetchone()[0]:
                    return ""
                return "its role may not create databases and roles (ALTER ROLE … CREATEDB CREATEROLE)"
        except psycopg2.Error as error:
            return str(error).strip()

    def reach(self) -> tuple[str, str]:
        url, reason = super().reach()
        if not url and os.geteuid() == 0 and shutil.which("psql") and listening(self.port):
            return self.make_role(), reason
        return url, reason

    def make_role(self) -> str:
        """As root, create a role as the superuser `postgres`, which Debian's server accepts only on its socket."""
        password = secrets.token_urlsafe(24)
        statements = """
            SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (
                SELECT FROM pg_roles WHERE rolname = :'role') \\gexec
            SELECT format('ALTER ROLE %I LOGIN CREATEDB CREATEROLE PASSWORD %L', :'role', :'password') \\gexec"""
        settings = f"\\set role {self.role}\n\\set password {password}\n"
        if self.as_superuser(settings + statements).returncode:
            return ""
        url = f"postgres://{self.role}:{password}@{LOCALHOST}:{self.port}/"
        if self.probe(url):
            return ""
        say(f"{self.title}: made the role {self.role}, which may create databases and roles")
        self.memory.urls[self.name] = url
        self.memory.save()
        return url

    def as_superuser(self, statements: str) -> subprocess.CompletedProcess[str]:
        psql = ("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-p", str(self.port), "-d", "postgres", "-f", "-")
        return run("runuser", "-u", "postgres", "--", *psql, check=False, input=statements, cwd="/")

    def docker_options(self) -> list[str]:
        return ["-e", "POSTGRES_USER=shop", "-e", f"POSTGRES_PASSWORD={secrets.token_urlsafe(24)}"]

    def docker_arguments(self) -> list[str]:
        return ["-c", self.connections]

    def docker_url(self, port: int) -> str:
        password = run("docker", "exec", self.container, "printenv", "POSTGRES_PASSWORD").stdout.strip()
        return f"postgres://shop:{password}@{LOCALHOST}:{port}/"

    def cluster(self) -> list[str]:
        """Return version and name of Debian's cluster on the standard port."""
        for line in run("pg_lsclusters", "-h").stdout.splitlines():
            version, name, port, *_ = line.split()
            if int(port) == self.port:
                return [version, name]
        versions = sorted(path.name for path in Path("/usr/lib/postgresql").iterdir())
        run("pg_createcluster", versions[-1], "main", "-p", str(self.port), env=os.environ | {"LC_ALL": "C.UTF-8"})
        return [versions[-1], "main"]

    def start_debian(self) -> None:
        run("pg_ctlcluster", "-o", f"-c {self.connections}", *self.cluster(), "start")

    def stop_debian(self) -> None:
        run("pg_ctlcluster", *self.cluster(), "stop", "-m", "fast")


@contextlib.contextmanager
def postgres(url: str) -> Iterator[Any]:
    """Yield a cursor on the maintenance database, where each statement is its own transaction."""
    connection = psycopg2.connect(url.rstrip("/") + "/postgres", connect_timeout=3)
    connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


class RabbitMQ(Server):
    name, title, port, variable = "rabbitmq", "RabbitMQ", 5672, "BROKER_URL"
    package, binary, image = "rabbitmq-server", "rabbitmqctl", "rabbitmq:4-management-alpine"

    def default_urls(self) -> list[str]:
        return [f"amqp://guest:guest@{LOCALHOST}:{self.port}//"]

    def probe(self, url: str) -> str:
        try:
            connection = kombu.Connection(url, connect_timeout=3)
            connection.connect()
            connection.release()
        except NotAllowed:  # authenticated, but the vhost is missing or not ours: one is created later
            return ""
        except (AMQPError, OSError) as error:
            return str(error)
        return ""

    def docker_url(self, port: int) -> str:
        return f"amqp://guest:guest@{LOCALHOST}:{port}//"

    def start_debian(self) -> None:
        if systemd():
            run("systemctl", "start", self.package)
            return
        configured = Path("/etc/rabbitmq/rabbitmq-env.conf")
        named = configured.exists() and any("NODENAME=" in line for line in active_lines(configured))
        environment = os.environ | ({} if named else {"RABBITMQ_NODENAME": RABBIT_NODE})
        # Not run(): the detached node would keep the pipe open.
        null = subprocess.DEVNULL
        subprocess.run(["rabbitmq-server", "-detached"], env=environment, check=True, stdout=null, stderr=null)

    def stop_debian(self) -> None:
        for ctl in self.controls(self.default_urls()[0]):
            if run(*ctl, "shutdown", check=False).returncode == 0:  # unlike `stop`, waits until it is down
                run("epmd", "-kill", check=False)  # Erlang's port mapper came along; it stays if a node needs it
                return
        raise Failure("RabbitMQ could not be stopped")

    def controls(self, url: str) -> Iterator[list[str]]:
        """Yield the rabbitmqctl commands that may reach this broker."""
        if urlsplit(url).hostname not in (LOCALHOST, "localhost", "::1"):
            return
        if self.memory.started.get(self.name) == "docker":
            yield ["docker", "exec", "-i", self.container, "rabbitmqctl", "-q"]
        if os.geteuid() == 0 and shutil.which("rabbitmqctl"):
            yield ["rabbitmqctl", "-q"]
            yield ["rabbitmqctl", "-q", "-n", RABBIT_NODE]

    def make_vhost(self, url: str, vhost: str) -> str:
        """Return the URL with this vhost, created if necessary; the unchanged URL if vhosts cannot be created."""
        parts = urlsplit(url)
        wanted = parts._replace(path=f"/{vhost}").geturl()
        user = unquote(parts.username or "guest")
        if self.enters(wanted):
            return wanted
        if management(url, "PUT", f"vhosts/{vhost}") and management(url, "PUT", f"permissions/{vhost}/{quote(user)}"):
            return wanted
        for ctl in self.controls(url):
            run(*ctl, "add_vhost", vhost, check=False)
            run(*ctl, "set_permissions", "-p", vhost, user, ".*", ".*", ".*", check=False)
            if self.enters(wanted):
                return wanted
        say(f"RabbitMQ: cannot make the vhost {vhost} (no rabbitmqctl as root, no management API); using {hidden(url)}")
        return url

    def drop_vhost(self, url: str, vhost: str) -> None:
        if management(url, "DELETE", f"vhosts/{vhost}"):
            return
        for ctl in self.controls(url):
            if run(*ctl, "delete_vhost", vhost, check=False).returncode == 0:
                return

    def define(self, url: str, definitions: str) -> None:
        """Import definitions of users, permissions and queues, as JSON."""
        if management(url, "POST", "definitions", definitions):
            return
        said = "there is no management API, and no rabbitmqctl as root"
        for ctl in self.controls(url):
            done = run(*ctl, "import_definitions", check=False, input=definitions)
            if done.returncode == 0:
                return
            said = done.stdout
        raise Failure(f"RabbitMQ at {hidden(url)} takes no definitions: {said.strip()}")

    def drop_users(self, url: str, prefix: str) -> None:
        """Delete the users whose names begin with a prefix."""
        for ctl in self.controls(url):
            listed = run(*ctl, "list_users", "--no-table-headers", check=False)
            names = [line.split()[0] for line in listed.stdout.splitlines() if line.startswith(prefix)]
            for name in names if listed.returncode == 0 else ():
                run(*ctl, "delete_user", name, check=False)

    @staticmethod
    def enters(url: str) -> bool:
        try:
            with kombu.Connection(url, connect_timeout=3) as connection:
                connection.connect()
        except (AMQPError, OSError):
            return False
        return True


def management(url: str, method: str, path: str, said: str = "{}") -> bool:
    """Call RabbitMQ's management API on its standard port; return False if that fails."""
    parts = urlsplit(url)
    user = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}", "Content-Type": "application/json"}
    body = json.dumps({"configure": ".*", "write": ".*", "read": ".*"}) if "permissions" in path else said
    request = urllib.request.Request(f"http://{parts.hostname}:15672/api/{path}", body.encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=3):
            return True
    except OSError:
        return False


def active_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]


class Redis(Server):
    name, title, port, variable = "redis", "Redis", 6379, "REDIS_URL"
    package, binary, image = "redis-server", "redis-server", "redis:8-alpine"

    def default_urls(self) -> list[str]:
        return [f"redis://{LOCALHOST}:{self.port}/"]

    def probe(self, url: str) -> str:
        try:
            redis.Redis.from_url(url, socket_connect_timeout=3).ping()
        except redis.RedisError as error:
            return str(error)
        return ""

    def docker_url(self, port: int) -> str:
        return f"redis://{LOCALHOST}:{port}/"

    def start_debian(self) -> None:
        run("service", "redis-server", "start")

    def stop_debian(self) -> None:
        run("service", "redis-server", "stop")

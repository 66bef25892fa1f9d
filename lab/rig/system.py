"""A complete temporary shop: three servers, the shop's processes, and the environment that all of them share.

Settings are read once, when a process starts. So a command that needs such a shop first re-executes itself in the
environment of the servers that it is going to start.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import NoReturn, Self

from django.conf import settings
from django.core.management import call_command
from django.db import connections
from rich.console import Console

from embedded.server import NotStarted
from lab.providers.run import wanted
from lab.rig.processes import Processes
from lab.rig.servers import HOST, VHOST, CannotStart, Postgres, RabbitMQ, Redis, free_ports, listening, until
from shop.contracts.payments import STAND_IN_OPTIONS

HOME = "CHAOS_HOME"  # set in the run itself: the directory of its servers
STARTED_WITHIN = 120.0  # seconds, for the shop's processes
SIGNED_IN = 600  # minutes: clients sign in only once

# What a run inherits from its environment; all other settings have their defaults.
PASSED_ON = {"PATH", "HOME", "USER", "LANG", "TERM", "COLUMNS", "NO_COLOR", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH",
             "LD_LIBRARY_PATH", "STALLED_AFTER", "ORDER_DEADLINE", "HANDOVER_AFTER", "DELIVERED_AFTER", "OUTBOX_LEASE",
             "PAY_WITHIN", "PAYMENT_CAPTURE", "LOCK_WAIT", "LOCK_LEASE", "BATCH_LIMIT", "CONFIRM_TIMEOUT",
             "DJANGO_SETTINGS_MODULE"}  # fmt: skip


@dataclass(frozen=True)
class Ports:
    postgres: int
    redis: int
    rabbitmq: int
    dist: int
    epmd: int
    web: tuple[int, int]


def started_again() -> bool:
    """Whether this process was re-executed by `start_again`."""
    return HOME in os.environ


def start_again(
    command: str,
    *,
    defaults: Mapping[str, str],
    chosen: Mapping[str, str],
    by: Sequence[str] = (),
    gateways: Sequence[str] = (),
) -> NoReturn:
    """Re-execute this command in the environment of the servers that it will start.

    Inherited variables override `defaults`, and `chosen` overrides everything. `by` is a program, with options, that
    executes the command. `gateways` are adapters: customers pay at the stand-in of each, instead of in the sandboxes.
    """
    home = Path(tempfile.mkdtemp(prefix=f"shop-{command}-"))
    home.chmod(0o711)  # PostgreSQL may run as another account
    postgres, redis, rabbitmq, dist, epmd, *others = map(str, free_ports(7 + len(gateways)))
    web, providers = others[:2], dict(zip(gateways, others[2:], strict=True))
    passed_on = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("LC_")}
    environment = {**defaults, **passed_on} | {
        HOME: str(home),
        "CHAOS_PORTS": ",".join([postgres, redis, rabbitmq, dist, epmd, *web]),
        "DATABASE_URL": f"postgres://postgres@{HOST}:{postgres}/",
        "DATABASE_PREFIX": "chaos_",
        "BROKER_URL": f"amqp://guest:guest@{HOST}:{rabbitmq}/{VHOST}",
        "LOCKS_URL": f"redis://{HOST}:{redis}/1",
        "CACHE_URL": f"redis://{HOST}:{redis}/2",
        "SECRET_KEY": token_urlsafe(48),
        "DEBUG": "0",
        "SANDBOX": "1",
        "ALLOWED_HOSTS": HOST,
        "ACCESS_TOKEN_MINUTES": str(SIGNED_IN),
        "EMAIL_URL": "dummymail:",
        "SHOP_VAR": str(home / "var"),
        **(_paying_at(providers, web[0]) if providers else {}),
        **chosen,
    }  # fmt: skip
    manage = settings.BASE_DIR / "manage.py"
    again = [*by, sys.executable, str(manage), *sys.argv[1:]]
    os.execvpe(again[0], again, environment)  # noqa: S606 (our own)  # nosec B606


def _paying_at(providers: Mapping[str, str], web: str) -> dict[str, str]:
    """Return the settings of gateways whose stand-ins ({adapter: port}) tell a web server what has happened."""
    options = {
        f"GATEWAY_{adapter.upper()}_{option.upper()}": value
        for adapter, port in providers.items()
        for option, value in {**STAND_IN_OPTIONS[adapter], "url": f"http://{HOST}:{port}"}.items()
    }
    accounts = ",".join(f"{adapter.upper()}={adapter}" for adapter in providers)
    return {"PAYMENT_GATEWAYS": accounts, "PORT": web, "PUBLIC_URL": f"http://{HOST}:{web}", **options}


class System:
    """Context manager: starts the servers and an empty shop on entry, and stops them on exit."""

    def __init__(self, *, console: Console, keep: bool = False) -> None:
        self.home, self.console, self.keep = Path(os.environ[HOME]), console, keep
        postgres, redis, rabbitmq, dist, epmd, *web = map(int, os.environ["CHAOS_PORTS"].split(","))
        ports = Ports(postgres, redis, rabbitmq, dist, epmd, (web[0], web[1]))
        self.postgres = Postgres(self.home / "postgres", ports.postgres)
        self.rabbitmq = RabbitMQ(self.home / "rabbitmq", ports.rabbitmq, ports.dist, ports.epmd)
        self.redis = Redis(self.home / "redis", ports.redis)
        self.urls = [f"http://{HOST}:{port}" for port in ports.web]
        self._ports = ports
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def _start(self) -> None:
        self._exits.callback(self._remove)
        self.say(f"Servers of this run's own below {self.home}")
        for server in (self.redis, self.postgres, self.rabbitmq):
            self._exits.callback(server.stop)
            try:
                server.start()
            except NotStarted as error:
                raise CannotStart(str(error)) from error
            except (TimeoutError, OSError, subprocess.SubprocessError) as error:
                raise CannotStart(f"{type(server).__name__} does not start: {error}") from error
            self.say(f"  {type(server).__name__} on port {server.port}")
        self._exits.callback(connections.close_all)
        with (self.home / "migrate.log").open("w") as log:
            call_command("migrate_all", verbosity=0, stdout=log)
        self.processes = Processes(self.home, list(self._ports.web), providers=list(wanted()))
        self._exits.callback(self.processes.stop)
        self.processes.start()
        self.say(f"  {len(self.processes.all)} processes: {', '.join(one.name for one in self.processes.all)}")
        until(self.rabbitmq.all_consumed, "a worker for every queue", seconds=STARTED_WITHIN, pause=0.5)
        ports = [*self._ports.web, *(one.port for one in wanted().values())]
        until(lambda: all(map(listening, ports)), "an answer from the shop", seconds=STARTED_WITHIN)

    def _stop(self) -> None:
        """Stop everything; a second Ctrl-C must not interrupt this halfway."""
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        self._exits.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def _remove(self) -> None:
        if self.keep:
            self.say(f"Logs and data stay in {self.home}")
        else:
            shutil.rmtree(self.home, ignore_errors=True)

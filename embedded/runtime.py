"""The whole shop in one process: started in order, stopped in reverse, at most once per data directory."""

import fcntl
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from io import StringIO
from pathlib import Path
from secrets import token_urlsafe
from threading import Timer
from typing import Any, Self

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.models import Max
from django.utils.module_loading import import_string
from rich.console import Console
from rich.markup import escape
from stamina.instrumentation import LoggingOnRetryHook, set_on_retry_hooks

from disk import Unusable, full, kept
from embedded.components import Component, Patience, PortTaken, Relays, Timers, Web, Worker, idle
from embedded.postgresql.base import server
from embedded.server import NotStarted
from sagas.outbox import rearm
from sagas.registry import local_services
from shop.contracts.orders import FINAL
from shop.observability import sdk
from shop.observability.logs import formatter

logger = logging.getLogger(__name__)

SECONDS_TO_STOP = 20.0  # for all parts to finish their work
LOST_WITH_THE_BROKER = timedelta(minutes=5)  # age of messages that a crash may have lost
LOG = settings.VAR_DIR / "shop.log"


class CannotStart(Exception):
    """The embedded mode cannot start or go on; the message says why, and what to do."""


class Runtime:
    """A context manager: within it, the shop runs and answers at `url`.

    Ctrl-C and SIGTERM raise KeyboardInterrupt in the block; a second one shortens the stop. Raises CannotStart.
    """

    def __init__(self, *, console: Console) -> None:
        self.console = console
        self._lock: int | None = None
        self._crashed = False  # whether the last run ended without an orderly stop
        self._web: Web | None = None
        self._components: list[Component] = []
        self._patience: Patience | None = None  # set once stopping has begun
        self._handlers: dict[int, Any] = {}

    @property
    def url(self) -> str:
        return self._web.url if self._web else ""

    @property
    def password(self) -> str:
        """The password of the sample users."""
        return os.environ["SEED_PASSWORD"]

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            _refuse_servers()
            self._claim()
            self._web = Web(settings.PORT)
            self._keep_quiet()
            self._start(self._web)
        except BaseException as error:
            self._stop()
            if isinstance(error, PortTaken | NotStarted | Unusable) or full(error):
                raise CannotStart(full(error) or str(error)) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def wait(self) -> None:
        """Serve until interrupted. Raises CannotStart if a part dies."""
        while True:
            for component in self._components:
                if not component.alive:
                    raise CannotStart(f"The {component.title} has died; {_short(LOG)} says why.")
            time.sleep(0.5)

    def at_rest(self) -> bool:
        """Whether all work is done: every order has ended, and no event or message waits."""
        unfinished = apps.get_model("orders", "Order").objects.exclude(status__in=FINAL).exists()
        unsent = any(
            apps.get_model(service, "Unsent").objects.exists()
            or apps.get_model(service, "Inbox").objects.filter(deferred_until__isnull=False).exists()
            for service in local_services()
        )
        return idle() and not unfinished and not unsent and idle()

    # --- Up -----------------------------------------------------------------------------------------------------------
    def _start(self, web: Web) -> None:
        sdk.start()
        with self._step("PostgreSQL", "new, " if server.is_new else "", f"data in {_short(server.home)}/"):
            server.ensure()
        with self._step("databases", "migrated and seeded"):
            call_command("migrate_all", verbosity=0, stdout=StringIO())
            seed()
        self._resume()
        for component, detail in (
            (Worker(), "all queues, broker in memory"),
            (Relays(), "one per service"),
            (Timers(), "deliveries, settlements, deadlines"),
            (web, web.url),
        ):
            with self._step(component.title, detail):
                self._components.append(component)
                component.start()

    def _resume(self) -> None:
        """Emit again what the in-memory broker may have lost with the last process.

        An orderly stop leaves the queues empty, so only open orders are resumed. After a crash, recently changed orders
        are emitted again, too, as an ended order may have had messages on their way.
        """
        resumed = list(import_string("orders.open_orders.rearm_open")())
        if self._crashed:
            orders = apps.get_model("orders", "Order").objects
            if newest := orders.aggregate(newest=Max("updated_at"))["newest"]:
                recent = orders.filter(updated_at__gte=newest - LOST_WITH_THE_BROKER).values_list("pk", flat=True)
                rearm("orders", recent)
        self._crashed = False
        orders = apps.get_model("orders", "Order").objects
        if under_way := orders.filter(pk__in=resumed).exclude(status__in=FINAL).count():
            self._say("orders", f"{under_way} in progress, resumed")

    def _claim(self) -> None:
        """Lock the data directory; find out whether the last run ended with an orderly stop."""
        try:
            settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(settings.VAR_DIR / "running", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CannotStart(f"{_short(settings.VAR_DIR)}/ cannot be used ({error.strerror}). Set SHOP_VAR.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(self._lock, 200, 0).decode().strip()
            os.close(self._lock)
            self._lock = None
            raise CannotStart(
                f"Another `up` or `demo` ({who}) runs on {_short(settings.VAR_DIR)}/. Stop it with Ctrl-C, or give "
                "this one its own data and port: SHOP_VAR=/tmp/shop PORT=8081 make up"
            ) from None
        self._crashed = bool(os.pread(self._lock, 1, 0))
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"process {os.getpid()}, port {settings.PORT}\n".encode(), 0)

    def _keep_quiet(self) -> None:
        """Log to a file in var/, and errors to the terminal as well."""
        log = _PrivateLog(LOG, maxBytes=5_000_000, backupCount=1)
        log.setFormatter(formatter())
        errors = logging.StreamHandler()
        errors.setLevel(logging.ERROR)
        errors.setFormatter(_FirstLine(f"%(levelname)s %(name)s: %(message)s (more in {_short(LOG)})"))
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        root.handlers = [log, errors]
        for chatty in ("celery", "kombu", "httpx", "httpcore"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        for name in list(logging.root.manager.loggerDict):
            logger = logging.getLogger(name)
            if any(type(handler) is logging.StreamHandler for handler in logger.handlers) or name == "django":
                logger.handlers, logger.propagate = [], True
        set_on_retry_hooks([LoggingOnRetryHook])
        settings.LOGGING_CONFIG = None  # keeps the worker from configuring logging again

    # --- Down ---------------------------------------------------------------------------------------------------------
    def _interrupt(self, number: int, frame: Any) -> None:
        if self._patience is None:
            raise KeyboardInterrupt
        self._patience.lose()

    def _stop(self) -> None:
        self._patience = Patience(SECONDS_TO_STOP)
        results = [self._finish(component, self._patience) for component in reversed(self._components)]
        finished = all(results)
        if self._web and self._web not in self._components:
            self._web.stop(self._patience)
        connections.close_all()
        if server.in_use:
            with self._step("PostgreSQL", "stopped"):
                server.release()
        if self._lock is not None:
            if finished and not self._crashed:
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if not finished:
            self.console.print("  Unfinished work is resumed at the next start.")
            leave = Timer(1, os._exit, [1])  # a hanging thread would keep the process alive
            leave.daemon = True
            leave.start()

    def _finish(self, component: Component, patience: Patience) -> bool:
        with self._step(component.title, "stopped"):
            try:
                return component.stop(patience)
            except Exception:
                logger.exception("The %s could not be stopped", component.title)
                return False

    # --- Output -------------------------------------------------------------------------------------------------------
    @contextmanager
    def _step(self, title: str, *detail: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            with self.console.status(f"{title} …") if self.console.is_terminal else nullcontext():
                yield
        except BaseException:
            self._say(title, "not finished", time.monotonic() - start, mark="[red]✗[/]")
            raise
        self._say(title, "".join(detail), time.monotonic() - start)

    def _say(self, title: str, detail: str, seconds: float | None = None, mark: str = "[green]✓[/]") -> None:
        took = f"{seconds:6.2f} s" if seconds is not None else " " * 8
        self.console.print(f"  {mark} {title:<12} [dim]{took}[/]  {escape(detail)}", soft_wrap=True)


def _refuse_servers() -> None:
    """Raises CannotStart if the environment names servers, which `up` would use only in part."""
    if not settings.EMBEDDED or not settings.BROKER_URL.startswith("memory:"):
        raise CannotStart(
            "The environment names servers (DATABASE_URL, BROKER_URL), where the shop runs as processes of their own: "
            "`make run` starts them all (README, “On real servers”). Unset both for the embedded mode."
        )


def seed() -> None:
    """Create the sample data if missing. The sample users' password is stored in `var/`, like the secret key."""
    given = os.environ.get("SEED_PASSWORD")
    stored = kept(settings.VAR_DIR / "seed-password", lambda: given or token_urlsafe(12))
    os.environ["SEED_PASSWORD"] = given or stored  # where the command reads it
    call_command("seed", stdout=StringIO())


class _PrivateLog(logging.handlers.RotatingFileHandler):
    """A log that only its owner can read, also after a rotation. On a full disk it complains once a minute."""

    _quiet_until = 0.0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exception()
        if not isinstance(error, OSError) or not full(error):
            super().handleError(record)
        elif time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + 60
            said = f"ERROR {_short(LOG)} cannot be written: {error.strerror}."
            print(f"{said} What has to be written fails until there is room; then the shop goes on.", file=sys.stderr)

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, opener=lambda path, flags: os.open(path, flags, 0o600))


class _FirstLine(logging.Formatter):
    """Formats a record without its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        return self.formatMessage(record)


def _short(path: Path) -> str:
    """The path relative to the current directory, if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

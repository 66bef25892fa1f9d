"""`manage.py demo` (`make demo`): plays the flows of the README on the embedded shop."""

import fcntl
import os
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from commands.packages import more_than_production
from embedded.management.commands.up import where
from lab.demo.client import NotAsExpected, Person, until
from lab.demo.flows import FLOWS, Cast
from lab.demo.stage import Stage

if TYPE_CHECKING:
    from embedded.runtime import Runtime

CUSTOMERS = ("customer1@example.com", "customer2@example.com", "customer3@example.com")
ADMIN = "admin@example.com"
QUICK = {"HANDOVER_AFTER": 0.2, "DELIVERED_AFTER": 0.2}  # seconds; a demo does not wait for the carrier

SOMEBODY_ELSES_DATA = (
    "The sample users in {}/ have another password: give it as SEED_PASSWORD, or give the demo its own data: SHOP_VAR."
)


class Command(BaseCommand):
    help = (
        "Start the shop as `up` does, on data (var/demo, anew each time) and a port of its own, unless SHOP_VAR and "
        "PORT name others, and play its flows over HTTP; exit code 1 if one does not end as it must."
    )
    requires_system_checks = []  # the worker runs them

    def handle(self, **options: Any) -> None:
        with more_than_production():  # before anything is removed
            from embedded.runtime import CannotStart, Runtime

        if "SHOP_VAR" not in os.environ:
            _start_again(settings.VAR_DIR / "demo")
        for name, seconds in QUICK.items():
            if name not in os.environ:
                setattr(settings, name, seconds)
        start = time.monotonic()
        console = Console(highlight=False, width=None if self.stdout.isatty() else 120)
        console.print("[bold]The shop, embedded: starting[/]")
        try:
            with Runtime(console=console) as runtime:
                failures = _play(console, runtime)
                console.print(f"\n[bold]It served[/] (`make up` does until Ctrl-C)\n{where(runtime.url)}\n")
        except CannotStart as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted; nothing is left running.", returncode=130) from None
        if failures:
            raise CommandError("Not as it must be:\n" + "\n".join(f"  {failure}" for failure in failures))
        console.print(f"[bold green]All flows ended as they must[/], in {time.monotonic() - start:.0f} s.")


def _start_again(var: Path) -> NoReturn:
    """Re-execute this command with new data and a port of its own."""
    try:
        with suppress(FileNotFoundError), (var / "running").open() as running:  # which the runtime locks
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(var)
    except BlockingIOError:
        raise CommandError("Another demo is playing here. Wait for its end, or give this one SHOP_VAR.") from None
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be removed: {error.strerror}. Set SHOP_VAR.") from None
    shutil.rmtree(var, ignore_errors=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = os.environ.get("PORT") or str(probe.getsockname()[1])
    environment = os.environ | {"SHOP_VAR": str(var), "PORT": port}
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "demo"]
    os.execve(sys.executable, command, environment)  # noqa: S606 (our own)  # nosec B606


def _play(console: Console, runtime: "Runtime") -> list[str]:
    """Play every flow; return what did not end as it must."""

    def sign_in(email: str) -> Person:
        return people.enter_context(Person(runtime.url, email=email, password=runtime.password))

    stage = Stage(console)
    with ExitStack() as people:
        try:
            stage.say("\nThree customers and the administrator sign in.")
            with ThreadPoolExecutor() as doors:
                signed_in = list(doors.map(sign_in, (*CUSTOMERS, ADMIN)))
        except NotAsExpected:
            return [SOMEBODY_ELSES_DATA.format(settings.VAR_DIR)]
        cast = Cast(customers=signed_in[:3], admin=signed_in[3])
        for flow in FLOWS:
            stage.begin((flow.__doc__ or "").strip())
            try:
                flow(stage, cast)
            except NotAsExpected as surprise:
                stage.fail(str(surprise))
        stage.begin("Does it all add up?")
        try:
            until(runtime.at_rest, what="The end of every order", look_every=0.1)
            call_command("audit", strict=True, stdout=console.file)
        except NotAsExpected as surprise:
            stage.fail(str(surprise))
        except SystemExit:
            stage.fail("the audit found what must not be")
    return stage.failures

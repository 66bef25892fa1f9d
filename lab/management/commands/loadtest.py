"""`manage.py loadtest`: how much load the shop takes, and how long orders take under it."""

import asyncio
import ipaddress
import json
import os
import signal
import socket
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import connections
from rich.console import Console

from commands.arguments import seconds as duration
from commands.arguments import whole
from commands.packages import more_than_production
from lab.loadtest import inside, profiles
from lab.loadtest.compare import NotComparable, compare, differences, read
from lab.loadtest.http import Server
from lab.loadtest.people import CannotLoad, People
from lab.loadtest.report import write_comparison, write_report
from lab.loadtest.results import results
from lab.loadtest.run import Run
from lab.loadtest.tables import comparison, show
from lab.loadtest.watch import Watch
from shop import faults

# For a system of its own: carriers take no time, and nothing is throttled.
DEFAULTS = {"HANDOVER_AFTER": "0", "DELIVERED_AFTER": "0"}
LookAtMemory = Callable[[], dict[str, float]]  # MiB, by what the processes are for
OF_ITS_OWN = "a system of its own"

EXAMPLES = """
examples:
  manage.py loadtest steady --rate 50 --seconds 30            on servers and processes of its own
  manage.py loadtest ramp --report ramp.html                  the rate at which the shop falls behind, as a page
  manage.py loadtest flash-sale --buyers 100 --items 1        one gets it, 99 are refused
  manage.py loadtest mixed --url http://127.0.0.1:8080        a shop that runs, as `make up` starts one
  manage.py loadtest soak --seconds 3600 --json today.json --compare yesterday.json
  manage.py loadtest compare yesterday.json today.json --report both.html     their figures and plots side by side
`manage.py loadtest PROFILE --help` shows the options of a profile.
"""


class Formatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Keeps the examples' formatting."""


class Command(BaseCommand):
    help = (
        "Place orders as customers would, at a given rate whatever the shop does, and measure how long it took until\n"
        "they were answered, paid and completed. Without --url, on servers and processes of its own, which are gone\n"
        "at the end. Exit code 1 if something does not hold, 2 if it cannot begin, 130 after Ctrl-C, which ends\n"
        "the load and shows the results so far."
    )
    requires_system_checks = []  # they are for the processes that are put under load

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EXAMPLES, formatter_class=Formatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        chosen = parser.add_subparsers(dest="profile", required=True, metavar="PROFILE")
        for name, play, rate, seconds in (
            ("steady", profiles.steady, 50.0, 30.0),
            ("ramp", profiles.ramp, 20.0, 5.0),
            ("flash-sale", profiles.flash_sale, None, None),
            ("mixed", profiles.mixed, 30.0, 30.0),
            ("soak", profiles.soak, 20.0, 900.0),
        ):
            about = (play.__doc__ or "").strip()
            one = chosen.add_parser(name, help=about, description=about)
            if rate is None:
                one.add_argument("--buyers", type=int, default=100, metavar="N", help="(default: %(default)s)")
                one.add_argument("--items", type=int, default=1, metavar="M", help="(default: %(default)s)")
            else:
                first, each = (" in the first step", "of each step ") if name == "ramp" else ("", "")
                one.add_argument("--rate", type=float, default=rate, help=f"orders per second{first} (%(default)g)")
                one.add_argument("--seconds", type=float, default=seconds, help=f"{each}(%(default)g)")
                one.add_argument("--seed", type=whole(), default=1, help="of what is ordered (%(default)s)")
            if name == "ramp":
                one.add_argument("--to", type=float, default=2000.0, metavar="RATE", help="at most (%(default)g)")
                limit = "seconds until orders are {} at p95, within which a rate counts as held (%(default)g)"
                one.add_argument(
                    "--answer-limit", type=duration, default=0.5, metavar="S", help=limit.format("answered")
                )
                one.add_argument("--paid-limit", type=duration, default=3.0, metavar="S", help=limit.format("paid"))
            _add_common(one)

        beside = "two --json files side by side, without a load"
        two = chosen.add_parser("compare", help=beside, description=beside)
        two.add_argument("earlier", type=Path, metavar="EARLIER")
        two.add_argument("now", type=Path, metavar="NOW")
        two.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page with the plots of both")

    def handle(self, *, profile: str, **options: Any) -> None:
        if profile == "compare":
            _beside(Console(highlight=False), **{name: options[name] for name in ("earlier", "now", "report")})
            return
        try:
            playing = _profile(profile, options)
            earlier = read(options["compare"]) if options["compare"] else None
        except (profiles.NotPossible, NotComparable) as error:
            raise CommandError(str(error), returncode=2) from None
        _refuse_unwritable(options["report"], options["json"])
        console = Console(highlight=False)
        try:
            found = self._play(playing, console, url=options["url"], remote=options["remote"], **_of_the_run(options))
        except CannotLoad as error:
            raise CommandError(str(error), returncode=2) from error
        except KeyboardInterrupt as interrupt:
            self.stderr.write(f"Stopped by {str(interrupt) or 'Ctrl-C'} before there were results.")
            sys.exit(130)
        sys.exit(_tell(console, found, earlier, options["report"], options["json"]))

    def _play(
        self, profile: profiles.Profile, console: Console, *, url: str | None, remote: bool, patience: float, keep: bool
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"patience": patience, "load_before": os.getloadavg()[0]}
        if url:
            urls = [checked(url, remote=remote)]
            console.print(f"[bold]{profile.title}[/] against {url}", soft_wrap=True)
            if on := faults.levels():
                told = ", ".join(f"{name} {value:g}" for name, value in on.items())
                console.print(f"Fault switches are on here, and slow what is measured: {told}", style="yellow")
            return load(profile, urls, known_password(), console, where=url, **options)
        with more_than_production():
            from lab.rig.memory import Memory
            from lab.rig.servers import CannotStart
            from lab.rig.system import System, start_again, started_again

        if not started_again():
            unlimited = {"ORDERS_PER_MINUTE": "0", "TOKENS_PER_MINUTE": "0", "SEED_PASSWORD": token_urlsafe(12)}
            start_again("loadtest", defaults=DEFAULTS, chosen=unlimited)
        console.print(f"[bold]{profile.title}[/]", soft_wrap=True)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            with System(console=console, keep=keep) as system:
                password = known_password()
                inside.seed(password)
                memory = Memory(system.processes)
                found = load(profile, system.urls, password, console, where=OF_ITS_OWN, memory=memory, **options)
                system.keep |= any(one["good"] is False for one in found["findings"])
                return found
        except CannotStart as error:
            raise CannotLoad(f"{error} Or load a shop that runs: `make up`, and --url http://127.0.0.1:8080") from error


def _refuse_unwritable(*paths: Path | None) -> None:
    for path in paths:
        if path and not (folder := path.absolute().parent).is_dir():
            raise CommandError(f"There is no directory {folder} to write {path.name} to.", returncode=2)


def _beside(console: Console, *, earlier: Path, now: Path, report: Path | None) -> None:
    """Show two results side by side."""
    _refuse_unwritable(report)
    try:
        before, after = read(earlier), read(now)
    except NotComparable as error:
        raise CommandError(str(error), returncode=2) from None
    console.print(comparison(compare(before, after), differences(before, after)))
    if report:
        write_comparison(report, before, after)
        console.print(f"Report: {report}", soft_wrap=True, markup=False)


def _add_common(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--url", help="a shop that runs (default: servers and processes of its own)")
    add("--remote", action="store_true", help="--url is on another machine, and yours to put under load")
    add("--report", type=Path, metavar="FILE", help="write an HTML page with plots")
    add("--json", type=Path, metavar="FILE", help="write the results, also for a later --compare")
    add("--compare", type=Path, metavar="FILE", help="show an earlier --json file beside this run")
    add("--patience", type=duration, default=60.0, help="seconds to wait while no order ends (%(default)g)")
    add("--keep", action="store_true", help="keep logs and data of the run's own system")


def _profile(name: str, options: dict[str, Any]) -> profiles.Profile:
    play: Any = getattr(profiles, name.replace("-", "_"))
    return play(**{one: options[one] for one in signature(play).parameters})


def _of_the_run(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("patience", "keep")}


def checked(url: str, *, remote: bool) -> str:
    """Return the URL if it may be put under load. Raises CannotLoad."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise CannotLoad(f"{url} is not the URL of a shop, as http://127.0.0.1:8080 is one.")
    try:
        found = {info[4][0] for info in socket.getaddrinfo(parts.hostname, None)}
    except OSError:
        raise CannotLoad(f"There is no host {parts.hostname}.") from None
    if not remote and not all(ipaddress.ip_address(str(one).partition("%")[0]).is_loopback for one in found):
        raise CannotLoad(
            f"{parts.hostname} is not this machine. To put somebody else's shop under load is an attack on it; if it "
            "is yours to do so, say --remote."
        )
    return url.rstrip("/")


def known_password() -> str:
    """Return the sample users' password. Raises CannotLoad."""
    kept = settings.VAR_DIR / "seed-password"
    if password := os.environ.get("SEED_PASSWORD") or (kept.read_text() if kept.exists() else ""):
        return password
    raise CannotLoad(
        "The load comes from the sample users. Their password is SEED_PASSWORD, which is not set, or in "
        f"{kept}, where `make up` keeps it, and which is not there."
    )


def load(
    profile: profiles.Profile, urls: Sequence[str], password: str, console: Console, *, where: str,
    memory: LookAtMemory | None = None, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Play a profile against a shop; return the results. With `memory`, the shop is our own. Raises CannotLoad."""
    switched_on = faults.levels()
    with Watch(console) as watch:
        run = asyncio.run(_load(profile, urls, password, show=watch, look_at_memory=memory, **options))
        own = memory is not None
        at_hand = own or inside.same_shop(run.evidence)
        audit = inside.audited(own=own, at_rest=not run.interrupted and run.still_open == 0) if at_hand else None
        found = results(
            run,
            where=where,
            audit=audit,
            faults=switched_on if at_hand else {},
            locks=inside.look_for_locks() if at_hand else None,
        )
        connections.close_all()
    return found


async def _load(profile: profiles.Profile, urls: Sequence[str], password: str, **options: Any) -> Run:
    servers = [Server(url) for url in urls]
    people = People(urls[0], password)
    run = Run(profile, servers, people, **options)
    playing = asyncio.ensure_future(run.play())

    def stop() -> None:
        """Stop placing orders; the second time, or before there are any, stop at once."""
        if run.interrupted or not run.orders:
            playing.cancel()
        run.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await playing
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for server in (*servers, people.server):
            await server.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return run


def _tell(
    console: Console, found: dict[str, Any], earlier: dict[str, Any] | None, report: Path | None, to: Path | None
) -> int:
    """Show and write the results; return the exit code."""
    show(console, found)
    rows = compare(earlier, found) if earlier else []
    unlike = differences(earlier, found) if earlier else []
    if earlier:
        console.print(comparison(rows, unlike))
    if to:
        to.write_text(json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")
        console.print(f"Results: {to}", soft_wrap=True, markup=False)
    if report:
        write_report(report, found, rows, unlike)
        console.print(f"Report: {report}", soft_wrap=True, markup=False)
    if found["interrupted"]:
        return 130
    return 1 if any(one["good"] is False for one in found["findings"]) else 0


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)

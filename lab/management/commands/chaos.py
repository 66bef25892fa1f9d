"""`manage.py chaos`: is anything lost or done twice while everything fails?"""

import json as jsonlib
import os
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from secrets import randbelow
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from lab.chaos.faults import FAULTS
from lab.chaos.plan import make_plan
from lab.chaos.report import write_report
from lab.chaos.run import Run
from lab.chaos.servers import CannotStart
from lab.chaos.system import System, start_again, started_again
from lab.chaos.verdict import Verdict
from shop.embedded.server import NotStarted

GAPS, FAST_GAPS = (2.0, 10.0), (0.5, 2.0)  # seconds between two faults
CALM_RATE = 5.0  # orders per second that a small machine carries easily
ORDERS_PER_FAULT = 350  # by default, but every kind of fault comes at least once
FAST = {"STALLED_AFTER": "3", "OUTBOX_LEASE": "5", "HANDOVER_AFTER": "0.2", "DELIVERED_AFTER": "0.2"}


class Command(BaseCommand):
    help = (
        "Start servers and processes of the run's own, place orders of all kinds while everything is killed, stopped, "
        "restarted and wiped, wait for rest, and check that nothing was lost or done twice. The seed gives the plan of "
        "orders and faults. Exit code 1 when something is wrong, 2 when a server cannot be started."
    )
    requires_system_checks = []  # they are for the processes that the run starts

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--orders", type=int, default=10_000, metavar="N", help="how many (default: %(default)s)")
        parser.add_argument("--seed", type=int, metavar="N", help="of the plan (default: one by chance, shown)")
        parser.add_argument(
            "--faults", type=int, metavar="N", help="exactly so many (default: all kinds, for as long as it lasts)"
        )
        parser.add_argument(
            "--one-by-one",
            action="store_true",
            help="each kind of fault once, after recovery from the one before, which must not take over a minute",
        )
        parser.add_argument("--kinds", metavar="A,B", help=f"only these faults, of: {', '.join(FAULTS)}")
        parser.add_argument("--rate", type=float, help="orders per second (default: as the faults last; 5 one by one)")
        parser.add_argument("--fast", action="store_true", help="short timers and pauses, for a test")
        parser.add_argument("--patience", type=float, default=900.0, help="seconds to wait for rest (%(default)s)")
        parser.add_argument("--report", type=Path, metavar="FILE", help="draw the run as an HTML page")
        parser.add_argument("--json", action="store_true", help="print the summary as JSON; progress to standard error")
        parser.add_argument("--keep", action="store_true", help="keep logs and data; they are kept anyway if it fails")

    def handle(self, *, seed: int | None, **options: Any) -> None:
        if not started_again():
            chosen = randbelow(10**6) if seed is None else seed
            start_again("chaos", defaults=FAST if options["fast"] else {}, chosen={"CHAOS_SEED": str(chosen)})
        try:
            sys.exit(self._run(int(os.environ["CHAOS_SEED"]), **options))
        except (CannotStart, NotStarted) as error:
            raise CommandError(str(error), returncode=2) from error
        except KeyboardInterrupt as interrupt:
            self.stderr.write(f"Stopped by {str(interrupt) or 'Ctrl-C'}; nothing of the run is left running.")
            sys.exit(130)

    def _run(self, seed: int, *, orders: int, faults: int | None, kinds: str | None, **options: Any) -> int:
        chosen = kinds.split(",") if kinds else list(FAULTS)
        if unknown := set(chosen) - set(FAULTS):
            raise CommandError(f"No such fault: {', '.join(sorted(unknown))}. There are: {', '.join(FAULTS)}.")
        if options["one_by_one"]:
            faults, options["rate"] = len(chosen), options["rate"] or CALM_RATE
        least = max(len(chosen), orders // ORDERS_PER_FAULT) if faults is None else faults
        most = 100 * least if faults is None else faults
        gaps = FAST_GAPS if options["fast"] else GAPS
        plan = make_plan(seed, orders=orders, faults=most, kinds=chosen, gaps=gaps)
        console = Console(stderr=options["json"], highlight=False)
        console.print(f"[bold]Chaos[/]: {orders} orders, {least} faults{'' if faults else ' or more'}, seed {seed}")
        signal.signal(signal.SIGTERM, _interrupt)
        with System(console=console, keep=options["keep"]) as system:
            verdict = Run(system, plan, console=console).play(
                least=least, patience=options["patience"], rate=options["rate"], one_by_one=options["one_by_one"]
            )
        if options["report"]:
            write_report(options["report"], verdict)
            console.print(f"Report: {options['report']}")
        if options["json"]:
            self.stdout.write(jsonlib.dumps(verdict.figures(), ensure_ascii=False))
        else:
            show(console, verdict)
        return 0 if verdict.good else 1


def show(console: Console, verdict: Verdict) -> None:
    """The summary as tables."""
    figures = verdict.figures()
    recovery = Table("fault", "fired", "recovery, median", "longest", title="Faults")
    for kind, row in figures["recovery"].items():
        recovery.add_row(kind, f"{row['fired']}", f"{row['median']:.1f} s", f"{row['max']:.1f} s")
    console.print(recovery)
    console.print(
        "Recovery: from the end of the fault until all orders placed before have ended or are with the carrier, and "
        "one placed after it is paid and on its way (after beat's: completed).",
        style="dim",
    )
    table = Table("what", "", title=f"Chaos, seed {verdict.seed}")
    for what, count in verdict.wrong.items():
        table.add_row(what, f"[green]{count}[/]" if not count else f"[bold red]{count}[/]")
    table.add_section()
    for title, name in (
        ("operations", "operations"), ("unknown because of", "unknownBecause"), ("ended as", "statuses"),
        ("kinds of orders", "kinds"),
    ):  # fmt: skip
        table.add_row(title, ", ".join(f"{count} {what}" for what, count in figures[name].items()) or "–")
    table.add_section()
    table.add_row("orders per second", f"{figures['ordersPerSecond']} for {figures['seconds']} s")
    for title, name in (("answer to POST /orders", "answer"), ("from order to its end", "orderToEnd")):
        table.add_row(title, ", ".join(f"{which} {value:.2f} s" for which, value in figures[name].items()))
    table.add_row("last fault until rest", f"{figures['secondsToRest']} s")
    table.add_row("processes started again", f"{verdict.restarts}")
    dead = ", ".join(f"{count} {step}" for step, count in verdict.dead_letters.items())
    table.add_row("dead letters, resolved", dead or "0")
    console.print(table)
    for line in verdict.findings[:30]:
        console.print(f"[red]{line}[/]", soft_wrap=True)
    console.print("[green]Nothing lost, nothing done twice.[/]" if verdict.good else "[bold red]Chaos won.[/]")


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)

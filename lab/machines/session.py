"""Runs `manage.py chaos --machines` with its options."""

import json as jsonlib
import os
import signal
import sys
from secrets import randbelow
from typing import Any, TextIO

from django.core.management.base import CommandError
from rich.console import Console
from rich.table import Table

from lab.chaos.plan import make_plan
from lab.chaos.tables import show
from lab.chaos.verdict import Verdict
from lab.machines.cluster import Cluster, environment
from lab.machines.faults import KINDS, has_netem
from lab.machines.programs import programs
from lab.machines.run import MachineRun
from lab.rig.servers import CannotStart
from lab.rig.system import start_again, started_again

RATE = 20.0  # orders per second
LONGEST = 3600  # seconds that orders are planned for
GAPS = (4.0, 8.0)  # seconds between a whole cluster and the next fault


def play(*, seed: int | None, stdout: TextIO, **options: Any) -> int:
    """Run; return the exit code. Raises CommandError if the run cannot begin."""
    try:
        if not started_again():
            programs()  # downloaded while there still is a network
            chosen = randbelow(10**6) if seed is None else seed
            own = ("unshare", "--net", "--mount", "--")
            start_again("chaos", defaults={}, chosen={"CHAOS_SEED": str(chosen), **environment()}, by=own)
        signal.signal(signal.SIGTERM, _interrupt)
        return _run(int(os.environ["CHAOS_SEED"]), stdout=stdout, **options)
    except CannotStart as error:
        raise CommandError(str(error), returncode=2) from error
    except KeyboardInterrupt as interrupt:
        print(f"Stopped by {str(interrupt) or 'Ctrl-C'}; nothing of the run is left running.", file=sys.stderr)
        return 130


def _run(
    seed: int, *, stdout: TextIO, faults: int | None, kinds: str | None, rate: float | None, **options: Any
) -> int:
    console = Console(stderr=options["json"], highlight=False)
    chosen = kinds.split(",") if kinds else list(KINDS)
    if unknown := set(chosen) - set(KINDS):
        raise CommandError(f"No such fault: {', '.join(sorted(unknown))}. There are: {', '.join(KINDS)}.")
    for word, can, why in (
        ("slow network", has_netem(), "This kernel cannot delay packets (netem)"),
        ("clock", programs().clock, "There is no C compiler"),
    ):
        if not can and (skipped := [kind for kind in chosen if word in kind]):
            console.print(f"[yellow]Skipped[/]: {', '.join(skipped)}. {why}.")
            chosen = [kind for kind in chosen if kind not in skipped]
    rate = rate or RATE
    plan = make_plan(
        seed, orders=int(rate * LONGEST), faults=len(chosen) if faults is None else faults, kinds=chosen, gaps=GAPS
    )
    console.print(f"[bold]Chaos of machines[/]: {rate:g} orders/s, {len(plan.faults)} faults, seed {seed}")
    clocks = any("clock" in kind for kind in chosen)
    with Cluster(console=console, keep=options["keep"], clocks=clocks) as cluster:
        verdict = MachineRun(cluster, plan, console=console).play_machines(rate=rate, patience=options["patience"])
    if options["json"]:
        stdout.write(jsonlib.dumps(verdict.figures(), ensure_ascii=False))
    else:
        show(console, verdict)
        _show_recovery(console, verdict)
    return 0 if verdict.good else 1


def _show_recovery(console: Console, verdict: Verdict) -> None:
    table = Table("fault", "orders flow after", "all caught up after", title="Machines")
    for one in verdict.faults:
        seconds = [f"{value:.1f} s" if value is not None else "–" for value in (one.flows_after, one.recovered_after)]
        table.add_row(one.kind, *seconds)
    console.print(table)


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)

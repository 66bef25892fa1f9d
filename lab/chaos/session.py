"""Runs `manage.py chaos`: makes the plan, starts a system of its own, plays the run, and shows the result."""

import json as jsonlib
import os
import signal
import sys
from secrets import randbelow
from typing import Any, TextIO

from django.core.management.base import CommandError
from rich.console import Console

from lab.chaos.faults import FAULTS, OF_PROVIDERS
from lab.chaos.plan import make_plan
from lab.chaos.report import write_report
from lab.chaos.run import Run
from lab.chaos.tables import show
from lab.machines.session import play as machines
from lab.providers.run import wanted
from lab.rig.servers import CannotStart
from lab.rig.system import System, start_again, started_again
from shop.contracts.payments import AT_HAND_OVER

GAPS, FAST_GAPS = (2.0, 10.0), (0.5, 2.0)  # seconds between two faults
CALM_RATE = 5.0  # orders per second that a small machine carries easily
ORDERS_PER_FAULT = 350  # by default, but every kind of fault comes at least once
GATEWAYS = ("toss", "kakao", "naver", "stripe")
FAST = {"STALLED_AFTER": "3", "OUTBOX_LEASE": "5", "HANDOVER_AFTER": "0.2", "DELIVERED_AFTER": "0.2"}
PATIENCE = {False: "2", True: "0.2"}  # minutes for customers on a page


def play(*, seed: int | None, stdout: TextIO, **options: Any) -> int:
    """Run; return the exit code. Raises CommandError if the run cannot begin."""
    if options["machines"] and options["providers"]:
        raise CommandError("Providers are not on the machines: take --machines or --providers.")
    if options.pop("machines"):
        del options["providers"]
        return machines(seed=seed, stdout=stdout, **options)
    if not started_again():
        chosen = randbelow(10**6) if seed is None else seed
        at_providers = {"PAY_WITHIN": PATIENCE[options["fast"]], "PAYMENT_CAPTURE": AT_HAND_OVER}  # where it can be
        defaults = (FAST if options["fast"] else {}) | (at_providers if options["providers"] else {})
        gateways = GATEWAYS if options["providers"] else ()
        start_again("chaos", defaults=defaults, chosen={"CHAOS_SEED": str(chosen)}, gateways=gateways)
    try:
        return _run(int(os.environ["CHAOS_SEED"]), stdout=stdout, **options)
    except CannotStart as error:
        raise CommandError(str(error), returncode=2) from error
    except KeyboardInterrupt as interrupt:
        print(f"Stopped by {str(interrupt) or 'Ctrl-C'}; nothing of the run is left running.", file=sys.stderr)
        return 130


def _run(seed: int, *, stdout: TextIO, orders: int, faults: int | None, kinds: str | None, **options: Any) -> int:
    possible = [kind for kind in FAULTS if options["providers"] or kind not in OF_PROVIDERS]
    chosen = kinds.split(",") if kinds else possible
    if unknown := set(chosen) - set(possible):
        raise CommandError(f"No such fault: {', '.join(sorted(unknown))}. There are: {', '.join(possible)}.")
    if options["report"] and not (folder := options["report"].absolute().parent).is_dir():
        raise CommandError(f"There is no directory {folder} to write {options['report'].name} to.", returncode=2)
    if options["one_by_one"]:
        faults, options["rate"] = len(chosen), options["rate"] or CALM_RATE
    least = max(len(chosen), orders // ORDERS_PER_FAULT) if faults is None else faults
    most = 100 * least if faults is None else faults
    gaps = FAST_GAPS if options["fast"] else GAPS
    plan = make_plan(seed, orders=orders, faults=most, kinds=chosen, gaps=gaps, gateways=[*wanted()])
    console = Console(stderr=options["json"], highlight=False)
    console.print(f"[bold]Chaos[/]: {orders} orders, {least} faults{'' if faults else ' or more'}, seed {seed}")
    signal.signal(signal.SIGTERM, _interrupt)
    with System(console=console, keep=options["keep"]) as system:
        verdict = Run(system, plan, console=console).play(
            least=least, patience=options["patience"], rate=options["rate"], one_by_one=options["one_by_one"]
        )
    if options["report"]:
        write_report(options["report"], verdict)
        console.print(f"Report: {options['report']}", markup=False)
    if options["json"]:
        stdout.write(jsonlib.dumps(verdict.figures(), ensure_ascii=False))
    else:
        show(console, verdict)
    return 0 if verdict.good else 1


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)

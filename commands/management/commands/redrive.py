"""`manage.py redrive`: publishes orders' events again, from the first one; or the events that a step has lost."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils.module_loading import import_string
from rich.console import Console

from commands import backfill
from commands.packages import more_than_production
from commands.staff import StaffCommand
from sagas.outages import OUTAGES
from sagas.publisher import is_lost_on_exit

SHOWN = 20
PATIENCE = 30.0  # seconds for the follow-up events, embedded; the next `up` continues with the rest


class Command(StaffCommand):
    help = (
        "Emit the events of unfinished orders again, from the first: every step that has handled its part repeats what "
        "it emitted, up to where the saga broke off. Harmless for orders that are on their way. The relay publishes. "
        "With --missing, for a service whose database was restored to an earlier time: send its steps the events that "
        "they have lost, oldest first, and wait until they are handled."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("orders", nargs="*", default=[], help="ids, or ranges of ids: 17 20-35")
        which.add_argument("--all-open", action="store_true", help="every order that has not ended")
        which.add_argument("--missing", action="store_true", help="every event that a step should have handled")
        parser.add_argument("--dry-run", action="store_true", help="only say which orders would be emitted again")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(
        self, *, orders: list[str], all_open: bool, missing: bool, dry_run: bool, json: bool, **options: Any
    ) -> None:
        if missing:
            self._tell_missing(dry_run=dry_run, as_json=json)
            return
        asked_for = [_range(word) for word in orders]
        rearm_open = import_string("orders.open_orders.rearm_open")
        redriven = rearm_open(dry_run=True)
        if not all_open:
            redriven = [pk for pk in redriven if any(pk in ids for ids in asked_for)]
        if not dry_run:
            redriven = rearm_open(redriven)
        if json:
            self.stdout.write(_as_json(redriven, dry_run))
            return
        verb = "Would emit" if dry_run else "Emitted"
        listed = ", ".join(map(str, redriven[:SHOWN])) + (", …" if len(redriven) > SHOWN else "")
        self.stdout.write(f"{verb} {_unfinished(len(redriven))} again{': ' + listed if redriven else ''}.")
        if not all_open and not redriven:
            self.stdout.write("Those asked for have ended, or do not exist.")

    def _tell_missing(self, *, dry_run: bool, as_json: bool) -> None:
        if is_lost_on_exit() and not dry_run:
            if not settings.EMBEDDED:
                raise CommandError("The broker in memory lives in one process: nothing sent here reaches the others.")
            with self._embedded():
                self._fill(dry_run=dry_run, as_json=as_json)
        else:
            self._fill(dry_run=dry_run, as_json=as_json)

    @contextmanager
    def _embedded(self) -> Iterator[None]:
        """Run the shop with its worker in this process within the block; `make up` must not run meanwhile."""
        with more_than_production():
            from embedded.runtime import CannotStart, Runtime
        settings.PORT = 0  # any free port: it is not used
        try:
            with Runtime(console=Console(quiet=True)) as runtime:
                yield
                give_up_at = time.monotonic() + PATIENCE
                while not runtime.at_rest() and time.monotonic() < give_up_at:
                    time.sleep(0.1)
        except CannotStart as error:
            raise CommandError(str(error)) from error

    def _fill(self, *, dry_run: bool, as_json: bool) -> None:
        told, orders = 0, []
        try:
            for lost in backfill.missing_anywhere():
                ids = sorted({one.key for one in lost})
                told += len(lost) if dry_run else backfill.fill(ids)
                orders += ids
        except backfill.NotHandled as error:
            raise CommandError(f"{error} Then run this again.") from error
        except OUTAGES as outage:
            raise CommandError(f"After {told} events: {outage}. Run this again for the rest.") from outage
        if as_json:
            self.stdout.write(_as_json(orders, dry_run))
            return
        verb = "Would tell" if dry_run else "Told"
        self.stdout.write(f"{verb} {told} events of {len(orders)} orders to the steps that had not handled them.")


def _range(word: str) -> range:
    low, dash, high = word.partition("-")
    try:
        ids = range(int(low), int(high if dash else low) + 1) if word.replace("-", "").isdecimal() else range(0)
    except ValueError:
        ids = range(0)
    if not ids:
        raise CommandError(f"{word!r} is neither an order's id nor a range such as 20-35.")
    return ids


def _unfinished(count: int) -> str:
    return "1 unfinished order" if count == 1 else f"{count} unfinished orders"


def _as_json(redriven: list[int], dry_run: bool) -> str:
    return json.dumps({"orders": redriven, "dryRun": dry_run})

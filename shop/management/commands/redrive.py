"""`manage.py redrive`: have orders' events published again, from the first."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Emit the events of unfinished orders again, from the first: every step that has handled its part repeats what "
        "it emitted, up to where the saga broke off. Harmless for orders that are on their way. The relay publishes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("orders", nargs="*", default=[], help="ids, or ranges of ids: 17 20-35")
        which.add_argument("--all-open", action="store_true", help="every order that has not ended")
        parser.add_argument("--dry-run", action="store_true", help="only say which orders would be emitted again")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, orders: list[str], all_open: bool, dry_run: bool, json: bool, **options: Any) -> None:
        asked_for = [_range(word) for word in orders]
        rearm_open = import_string("orders.services.rearm_open")
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


def _range(word: str) -> range:
    low, dash, high = word.partition("-")
    try:
        ids = range(int(low), int(high if dash else low) + 1)
    except ValueError:
        ids = range(0)
    if not ids:
        raise CommandError(f"{word!r} is neither an order's id nor a range such as 20-35.")
    return ids


def _unfinished(count: int) -> str:
    return "1 unfinished order" if count == 1 else f"{count} unfinished orders"


def _as_json(redriven: list[int], dry_run: bool) -> str:
    return json.dumps({"orders": redriven, "dryRun": dry_run})

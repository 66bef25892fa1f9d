"""`manage.py redrive`: have orders' events published again, from the first."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string


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
        ids = None if all_open else _ids(orders)
        redriven = import_string("orders.services.rearm_open")(ids, dry_run=dry_run)
        if json:
            self.stdout.write(_as_json(redriven, dry_run))
            return
        verb = "Would emit" if dry_run else "Emitted"
        listed = ", ".join(map(str, redriven[:20])) + (", …" if len(redriven) > 20 else "")
        self.stdout.write(f"{verb} {len(redriven)} unfinished orders again{': ' + listed if redriven else '.'}")
        if ids is not None and (ended := [pk for pk in ids if pk not in set(redriven)]):
            self.stdout.write(f"{len(ended)} of those asked for have ended or do not exist.")


def _ids(words: list[str]) -> list[int]:
    ids: list[int] = []
    for word in words:
        low, dash, high = word.partition("-")
        try:
            ids.extend(range(int(low), int(high if dash else low) + 1))
        except ValueError:
            raise CommandError(f"{word!r} is neither an order's id nor a range such as 20-35.") from None
    return ids


def _as_json(redriven: list[int], dry_run: bool) -> str:
    return json.dumps({"orders": redriven, "dryRun": dry_run})

"""`manage.py backups`: how old the newest backup of each database server is."""

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shop.operations import backups

DAY = 26 * 3600  # seconds: the same as in the alert


class Command(BaseCommand):
    help = (
        "Read the output of `pgbackrest info --output=json` from standard input, and store it for Prometheus. Exit "
        "code 1 if a server has no backup of the last 26 hours, or its repository has a problem."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = "pgbackrest info --output=json | manage.py backups"

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = backups.read(sys.stdin.read())
        except ValueError as error:
            raise CommandError(str(error)) from error
        kept = backups.keep(found)
        bad = not found
        for one in found:
            hours = (time.time() - one.at) / 3600
            wrong = one.problem or ("no backup" if not one.at else "too old" if hours * 3600 > DAY else "")
            bad = bad or bool(wrong)
            age = f"{hours:.1f} hours old" if one.at else "–"
            self.stdout.write(f"{one.stanza:<20} {age:<18} {wrong or 'fine'}")
        if not kept:
            raise CommandError("The cache is away: nothing was stored for Prometheus.")
        if bad:
            raise SystemExit(1)

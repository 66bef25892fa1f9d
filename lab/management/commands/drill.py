"""`manage.py drill`: can the databases be restored from their backups?"""

import sys
from argparse import ArgumentParser
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand

from commands.arguments import seconds, whole
from commands.packages import more_than_production


class Command(BaseCommand):
    help = (
        "As root on Debian: start seven PostgreSQL servers of the drill's own, archived and backed up by pgBackRest, "
        "place orders, lose all servers, restore them to one moment in the middle, redeliver the events that were "
        "lost, and audit. Exit code 1 if an order from before is lost or the audit finds anything."
    )
    requires_system_checks = []  # they are for the processes that it starts

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--orders", type=whole(least=20), default=200, metavar="N", help="default: %(default)s")
        parser.add_argument("--seed", type=whole(), default=1, metavar="N", help="of the orders (%(default)s)")
        parser.add_argument("--patience", type=seconds, default=300.0, help="seconds to wait for rest (%(default)s)")
        parser.add_argument("--json", action="store_true", help="print the figures as JSON; progress to standard error")
        parser.add_argument("--keep", action="store_true", help="keep logs and data; they are kept anyway if it fails")

    def handle(self, **options: Any) -> None:
        with more_than_production():
            from lab.drill.session import play

        sys.exit(play(stdout=cast(TextIO, self.stdout), **options))

"""`manage.py chaos`: is anything lost or done twice while everything fails?"""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand

from commands.arguments import real, seconds, whole
from commands.packages import more_than_production


class Command(BaseCommand):
    help = (
        "Start servers and processes of the run's own, place orders of all kinds while everything is killed, stopped, "
        "restarted and wiped, wait for rest, and check that nothing was lost or done twice. The seed gives the plan of "
        "orders and faults. Exit code 1 when something is wrong, 2 when a server cannot be started."
    )
    requires_system_checks = []  # they are for the processes that the run starts

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--orders", type=whole(least=20), default=10_000, metavar="N", help="how many (default: %(default)s)"
        )
        parser.add_argument("--seed", type=whole(), metavar="N", help="of the plan (default: random, printed)")
        parser.add_argument(
            "--faults", type=whole(), metavar="N", help="exactly so many (default: all kinds, during the whole load)"
        )
        parser.add_argument(
            "--one-by-one",
            action="store_true",
            help="each kind of fault once, after recovery from the previous one, which must take at most a minute",
        )
        parser.add_argument("--kinds", metavar="A,B", help="only these kinds of faults; a wrong name lists them all")
        parser.add_argument(
            "--rate", type=real(above=0), help="orders per second (default: for all the faults; 5 one by one)"
        )
        parser.add_argument(
            "--machines",
            action="store_true",
            help="three machines with all servers and processes on each; one at a time dies, is cut off, or fails",
        )
        parser.add_argument(
            "--providers",
            action="store_true",
            help="customers pay at stand-ins of Toss Payments, KakaoPay, NaverPay and Stripe, which fail, too; at the "
            "end, the stand-ins' books must agree with our ledger",
        )
        parser.add_argument("--fast", action="store_true", help="short timers and pauses, for a test")
        parser.add_argument("--patience", type=seconds, default=900.0, help="seconds to wait for rest (%(default)s)")
        parser.add_argument("--report", type=Path, metavar="FILE", help="draw the run as an HTML page")
        parser.add_argument("--json", action="store_true", help="print the summary as JSON; progress to standard error")
        parser.add_argument("--keep", action="store_true", help="keep logs and data; they are kept anyway if it fails")

    def handle(self, **options: Any) -> None:
        with more_than_production():
            from lab.chaos.session import play

        sys.exit(play(stdout=cast(TextIO, self.stdout), **options))

"""`manage.py standins`: serves stand-ins for the providers, for a shop that is configured to call them."""

import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from commands.arguments import real
from commands.packages import more_than_production


def until_stopped() -> None:
    """Wait for Ctrl-C, which raises KeyboardInterrupt."""
    threading.Event().wait()


class Command(BaseCommand):
    help = (
        "Serve the stand-in of each gateway in PAYMENT_GATEWAYS, of EMAIL_SERVICE and of SMS_SERVICE whose url is on "
        "this machine, until Ctrl-C: its API, its payment page, its notifications. STAND_INS=1 configures a gateway "
        "for each payment provider; `make up` serves them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes (0)")
        parser.add_argument("--only", default="", metavar="NAME", help="serve this gateway's or service's only")
        parser.add_argument(
            "--trouble",
            type=real(least=0, most=1),
            default=0.0,
            metavar="SHARE",
            help="so many requests fail, as 0.1: the request or its answer is lost, or the answer is late, cut off, "
            "500 or 429 (0)",
        )

    def handle(self, *, latency: float, only: str, trouble: float, **options: Any) -> None:
        with more_than_production():
            from lab.providers.run import stand_ins

        if not settings.DEBUG:
            raise CommandError("Stand-ins are for development: set DEBUG=1.")
        try:
            where = settings.VAR_DIR / "stand-ins"
            with stand_ins(where, latency=latency, only=only, trouble=trouble) as serving:
                if not serving:
                    raise CommandError(
                        "No provider's url is on this machine: set STAND_INS=1, for this and for the shop."
                    )
                for name, one in serving.items():
                    self.stdout.write(f"{name}: {one.url}")
                until_stopped()
        except OSError as error:
            raise CommandError(f"{error.strerror}: another run may have the port") from error
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")

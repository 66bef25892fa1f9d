"""`manage.py up` (`make up`): the whole shop in one process, until Ctrl-C."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from commands.packages import more_than_production

SIGN_IN = "Sign in as customer1@example.com (2, 3) or admin@example.com with the password "


class Command(BaseCommand):
    help = "Serve the shop, embedded: PostgreSQL, worker, relay, timers and web server; data stays in var/."
    requires_system_checks = []  # the worker runs them

    def handle(self, **options: Any) -> None:
        with more_than_production():
            from embedded.runtime import CannotStart, Runtime
            from lab.providers.run import stand_ins

        console = Console(highlight=False)
        console.print("[bold]The shop, embedded[/]")
        try:
            with Runtime(console=console) as runtime, stand_ins(settings.VAR_DIR / "stand-ins") as serving:
                pages = "".join(f"\n  stand-in     {one.url} ({name})" for name, one in serving.items())
                console.print(f"\n{where(runtime.url)}{pages}\n\n{SIGN_IN}{escape(runtime.password)}", soft_wrap=True)
                console.print("Ctrl-C stops it.")
                runtime.wait()
        except CannotStart as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"A stand-in cannot be served: {error.strerror}.") from error
        except KeyboardInterrupt:
            console.print("Stopped.")


def where(url: str) -> str:
    """Return the URLs that a person would look for."""
    return "\n".join(
        f"  {what:<12} {url}{path}"
        for what, path in (("shop", "/"), ("API", "/api/v1/"), ("API docs", "/docs/"), ("admin", "/admin/"))
    )

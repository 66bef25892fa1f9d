"""`manage.py doctor`: checks everything that the shop needs, one line each, with the fix."""

from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from shop.operations.doctor import examine

MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}


class Command(BaseCommand):
    help = "Check versions, servers, databases, queues, keys, clock and disk; exit 1 if something is not right."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(file=cast(IO[str], self.stdout), soft_wrap=True)
        wrong = 0
        for finding in examine():
            fix = f"  [bold]→ {escape(finding.fix)}[/]" if finding.fix else ""
            console.print(f"{MARKS[finding.well]} {finding.what:<14} {escape(finding.detail)}{fix}")
            wrong += finding.well is False
        if wrong:
            raise CommandError(f"{wrong} of these {'is' if wrong == 1 else 'are'} not right.", returncode=1)

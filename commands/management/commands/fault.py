"""`manage.py fault`: makes something fail, on a development machine."""

from argparse import ArgumentParser
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.arguments import real
from shop import faults


class Command(BaseCommand):
    help = (
        "Fault switches, for development machines: list them with what to expect (list), set one (set), or turn "
        "one or all of them off (clear). Running processes follow within a second; after an hour a switch goes off."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|set|clear")
        actions.add_parser("list", help="all switches, what they are set to, and what to expect")
        setting = actions.add_parser("set", help="turn one up, as in: fault set carrier-refuses 0.5")
        setting.add_argument("name", metavar="NAME", help=", ".join(faults.FAULTS))
        setting.add_argument(
            "value", metavar="VALUE", type=real(least=0), nargs="?", default=1.0, help="share or seconds; 1"
        )
        clearing = actions.add_parser("clear", help="turn one off, or all")
        clearing.add_argument("name", metavar="NAME", nargs="?", help="all of them if left out")

    def handle(self, *, action: str, name: str | None = None, value: float = 0.0, **options: Any) -> None:
        try:
            if action == "list":
                self._list()
            elif action == "clear" and name is None:
                faults.clear()
                self.stdout.write("All fault switches are off.")
            else:
                faults.turn(cast(str, name), value)
                self.stdout.write(f"{name} is {value:g}. {faults.FAULTS[name].en}" if value else f"{name} is off.")  # type: ignore[index]
        except (faults.NotInProduction, faults.NoSuchFault) as error:
            raise CommandError(str(error)) from error
        except faults.AWAY as error:
            raise CommandError(f"The cache, where the switches are, is away: {error}") from error

    def _list(self) -> None:
        now = faults.levels()
        table = Table("fault", "now", "from", "what to expect")
        for name, fault in faults.FAULTS.items():
            shown = f"[red]{now[name]:g}[/]" if name in now else "off"
            table.add_row(name, shown, f"0 to {fault.most:g}, {fault.unit}", escape(fault.en))
        Console(file=cast(IO[str], self.stdout), width=None if self.stdout.isatty() else 140).print(table)
        if now:
            self.stdout.write(f"They go off by themselves in {faults.left() / 60:.0f} min.")

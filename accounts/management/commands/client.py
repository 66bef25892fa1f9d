"""`manage.py client`: programs that call the API for themselves (OAuth 2.0, client credentials)."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts import clients
from accounts.models import Client
from accounts.services import scopes_of
from shop import stafflog


class Command(BaseCommand):
    help = "Add a program that calls the API for itself, issue it a new secret, revoke it, or list all programs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        add = commands.add_parser("add", help="a new client; prints its id and secret once")
        add.add_argument("name")
        add.add_argument("--right", action="append", default=[], help="such as orders.view_order; may be repeated")
        add.add_argument("--group", action="append", default=[], help='such as "stock clerks"; may be repeated')
        for name, said in (
            ("rotate", "print a new secret; the previous one is valid for a day"),
            ("revoke", "lock out"),
        ):
            commands.add_parser(name, help=said).add_argument("client_id")
        commands.add_parser("list", help="all clients, with their permissions")

    def handle(self, *, command: str, **options: Any) -> None:
        with stafflog.by_command("client"):
            self._run(command, options)

    def _run(self, command: str, options: dict[str, Any]) -> None:
        if command == "add":
            try:
                client, secret = clients.add(name=options["name"], rights=options["right"], groups=options["group"])
            except LookupError as missing:
                raise CommandError(str(missing)) from None
            except ValidationError as invalid:
                raise CommandError(f"The name: {' '.join(invalid.messages)}") from None
            self.stdout.write(f"client_id     {client.client_id}\nclient_secret {secret}")
        elif command == "list":
            for client in Client.objects.select_related("user").order_by("pk"):
                state = " ".join(scopes_of(client.user)) if client.user.is_active else "revoked"
                self.stdout.write(f"{client.client_id}  {client.user.name}: {state}")
        else:
            found = Client.objects.filter(client_id=options["client_id"]).first()
            if found is None:
                raise CommandError(f"There is no client {options['client_id']}.")
            if command == "rotate":
                self.stdout.write(f"client_secret {clients.rotate(found)}")
            else:
                clients.revoke(found)
                self.stdout.write("Revoked.")

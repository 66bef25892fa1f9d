"""`manage.py broker`: creates RabbitMQ's users and queues, each user with the permissions that its service needs."""

import json
from typing import Any

import httpx
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from shop.operations.broker import definitions, missing, rights, send


class Command(BaseCommand):
    help = "Create RabbitMQ's users, with permissions, and its queues, by the management API (BROKER_ADMIN_URL)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--vhost", default="/", help="The vhost of the shop (default: /).")
        parser.add_argument(
            "--definitions", action="store_true", help="Only print them, for `rabbitmqctl import_definitions`."
        )

    def handle(self, *args: Any, vhost: str, **options: Any) -> None:
        passwords = settings.BROKER_PASSWORDS
        if unset := missing(passwords):
            raise CommandError(f"Set {', '.join(unset)}.")
        told = definitions(vhost, passwords)
        if options["definitions"]:
            self.stdout.write(json.dumps(told, indent=2))
            return
        if not settings.BROKER_ADMIN_URL:
            raise CommandError("Set BROKER_ADMIN_URL, like http://administrator:password@host:15672, or --definitions.")
        try:
            send(settings.BROKER_ADMIN_URL, told)
        except httpx.HTTPStatusError as refused:
            raise CommandError(f"RabbitMQ refuses the definitions: {refused.response.text[:500]}") from refused
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommandError(f"RabbitMQ's management API does not answer: {error}") from error
        self.stdout.write(f"{len(rights())} users, {len(told['queues'])} queues")

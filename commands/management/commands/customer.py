"""`manage.py customer`: exports or erases a customer's data."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import transaction
from django.utils.module_loading import import_string

from commands.staff import StaffCommand
from sagas.outages import OUTAGES
from shop import stafflog
from shop.api.problems import Problem
from shop.calls.personal import write_archive


class Command(StaffCommand):
    help = "Write all data about a customer into one archive, or have it erased."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        export = commands.add_parser("export", help="write all data of all services about a customer, as a ZIP of JSON")
        erase = commands.add_parser(
            "erase", help="close the account, and erase what identifies the customer once their orders have ended"
        )
        for command in (export, erase):
            command.add_argument("email", help="the customer's e-mail address")
        export.add_argument("--to", type=Path, required=True, metavar="FILE", help="a file that does not exist yet")

    def handle(self, *, command: str, email: str, to: Path | None = None, **options: Any) -> None:
        users: Any = apps.get_model("accounts", "User")
        user_id = users.objects.filter(email=users.objects.normalize_email(email)).values_list("pk", flat=True).first()
        if user_id is None:
            raise CommandError(f"There is no user {email}.")
        if to is not None:
            self._export(user_id, to)
        else:
            self._erase(user_id)

    def _export(self, user_id: int, to: Path) -> None:
        try:
            descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CommandError(f"{to}: {error.strerror}.") from None
        with transaction.atomic(using="accounts"):
            stafflog.record("accounts", "export", f"user {user_id}")
        try:
            with open(descriptor, "wb") as file:
                write_archive(user_id, file)
        except OUTAGES as outage:
            to.unlink()
            raise CommandError(f"Nothing was written: {outage}.") from outage
        self.stdout.write(f"Wrote all data about user {user_id} to {to}.")

    def _erase(self, user_id: int) -> None:
        try:
            due = import_string("accounts.erasure.close")(user_id)
        except Problem as refused:
            raise CommandError(refused.detail) from None
        self.stdout.write(
            f"The account of user {user_id} is closed. It is erased after {due:%Y-%m-%d %H:%M} UTC, once all orders "
            "have ended. Until then, making it active again in the admin cancels the erasure."
        )

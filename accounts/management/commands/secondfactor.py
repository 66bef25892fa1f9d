"""`manage.py secondfactor`: reset the second factor of a staff member who has lost it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import second_factor
from accounts.models import User
from shop import stafflog


class Command(BaseCommand):
    help = "Reset the second factor of a staff member who has lost it; they then set up a new one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email", help="the staff member's e-mail address")

    def handle(self, *, email: str, **options: Any) -> None:
        try:
            user = User.objects.get_by_natural_key(email)
        except User.DoesNotExist:
            raise CommandError(f"There is no user {email}.") from None
        with stafflog.by_command("secondfactor"):
            second_factor.reset(user)
        self.stdout.write("Forgotten.")

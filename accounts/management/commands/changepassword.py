"""`manage.py changepassword`: Django's command, with an entry in the staff log."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword

from accounts.models import User
from shop import stafflog


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        said: str | None = super().handle(*args, **options)
        with stafflog.by_command("changepassword"):
            user = User.objects.get_by_natural_key(options["username"] or getpass.getuser())
            stafflog.record("accounts", "change the password", f"user {user.pk}")
        return said

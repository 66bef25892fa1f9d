"""Commands that change the shop's data: the staff log records who ran them."""

from typing import Any

from django.core.management.base import BaseCommand

from shop.stafflog import by_command


class StaffCommand(BaseCommand):
    """A command whose changes are logged as made by whoever runs it."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        with by_command(type(self).__module__.rpartition(".")[2]):
            return super().execute(*args, **options)

"""`manage.py purge`: delete what is past its retention, now instead of when the timer comes."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string

from sagas.registry import TIMERS


class Command(BaseCommand):
    help = "Delete messages and notifications older than RETENTION_DAYS, and sign-ins that are over, in small portions."

    def handle(self, **options: Any) -> None:
        days = settings.SAGAS.retention.days
        if apps.is_installed("accounts"):
            purge_accounts, deleted = import_string("accounts.services.purge"), 0
            while portion := purge_accounts():
                deleted += portion
            self.stdout.write(f"accounts: {deleted} sign-ins, guesses, letters and sessions that were over")
        for name, sweep in sorted(TIMERS.items()):
            if not name.endswith(".purge"):
                continue
            deleted = 0
            while portion := sweep():
                deleted += portion
            self.stdout.write(f"{name.partition('.')[0]}: {deleted} rows older than {days} days")

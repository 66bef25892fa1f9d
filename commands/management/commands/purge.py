"""`manage.py purge`: deletes what is past its retention now, instead of at the timer's next tick."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from sagas.registry import TIMERS


class Command(BaseCommand):
    help = "Delete messages and notifications older than RETENTION_DAYS, and sign-ins that are over, in small batches;"
    help += " erase addresses after PRIVACY_AFTER."

    def handle(self, **options: Any) -> None:
        days = settings.SAGAS.retention.days
        for name, sweep in sorted(TIMERS.items()):
            if not name.endswith(".purge"):
                continue
            deleted = 0
            while portion := sweep():
                deleted += portion
            self.stdout.write(f"{name.partition('.')[0]}: {deleted} rows that were over, or older than {days} days")

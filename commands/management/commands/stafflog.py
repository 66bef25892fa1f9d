"""`manage.py stafflog`: what staff changed, in all services, newest first."""

import json
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Print what staff changed, in whatever way, in all services, newest first: one JSON object per line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--actor", metavar="ID", type=int, help="only what this user did")
        parser.add_argument("--target", metavar="NAME", help='only changes of this, as in "product 7"')
        parser.add_argument("--most", metavar="N", type=int, default=100, help="at most so many entries (100)")

    def handle(self, *, actor: int | None, target: str | None, most: int, **options: Any) -> None:
        wanted = {"actor_id": actor, "target": target}
        entries: list[tuple[Any, str]] = []
        for service in settings.LOCAL_SERVICES:
            rows = apps.get_model(service, "StaffAction").objects.order_by("-pk")
            rows = rows.filter(**{name: value for name, value in wanted.items() if value is not None})
            entries += [(row, service) for row in rows[:most]]
        for row, service in sorted(entries, key=lambda entry: entry[0].at, reverse=True)[:most]:
            shown = {"at": row.at.isoformat(), "service": service}
            shown |= {name: getattr(row, name) for name in FIELDS}
            self.stdout.write(json.dumps(shown, ensure_ascii=False))


FIELDS = ("actor_id", "actor", "way", "action", "target", "before", "after")

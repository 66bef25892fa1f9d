"""`manage.py deadletters`: events that a step could not handle, and what to do with them."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

from django.apps import apps
from django.core.management.base import CommandError
from django.db import transaction
from django.utils.timezone import localtime
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from commands.arguments import an_id
from commands.staff import StaffCommand
from sagas import dead_letters
from sagas.outages import OUTAGES
from sagas.publisher import is_lost_on_exit
from sagas.registry import local_services
from shop import stafflog

SHOWN = 100
COLUMNS = ("letter", "step", "event", "order", "tries", "since", "state", "error")
WIDTH = 160  # of tables that go to a file or a pipe


class Command(StaffCommand):
    help = (
        "Dead letters are events that a step could not handle. Find out why (list, show), repair the cause, and send "
        "them to their steps again (replay): letters that succeed are resolved. Letters that need no handling can be "
        "given up (discard)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay|discard")
        services = ", ".join(local_services())

        listing = actions.add_parser("list", help="the open dead letters of every service")
        listing.add_argument("--service", metavar="NAME", help=f"only those of this service: {services}")
        listing.add_argument("--all", action="store_true", help="resolved ones, too")
        listing.add_argument("--json", action="store_true", help="print one JSON array")

        show = actions.add_parser("show", help="one dead letter with its event and its full error")
        replay = actions.add_parser("replay", help="send to the step again; harmless for events handled meanwhile")
        discard = actions.add_parser("discard", help="give up an event that needs no handling")
        show.add_argument("service", metavar="SERVICE", help=services)
        show.add_argument("id", type=an_id, metavar="ID", help="as `list` shows it")
        show.add_argument("--json", action="store_true", help="print one JSON object")
        replay.add_argument("service", metavar="SERVICE", nargs="?", help=f"{services}; all of them if left out")
        replay.add_argument("ids", type=an_id, metavar="ID", nargs="*", help="as `list` shows them")
        replay.add_argument("--all", action="store_true", help="all open ones, of the service or of all services")
        trust = "also replay what its sender may not emit (Impostor); goes with IDs"
        replay.add_argument("--trust-sender", action="store_true", help=trust)
        discard.add_argument("service", metavar="SERVICE", help=services)
        discard.add_argument("ids", type=an_id, metavar="ID", nargs="+", help="as `list` shows them")
        discard.add_argument("--reason", required=True, help="why; it is kept with the dead letter")

    def handle(self, *, action: str, service: str | None = None, **options: Any) -> None:
        if service is not None and service not in local_services():
            raise CommandError(f"No dead letters of {service!r} here. There are: {', '.join(local_services())}.")
        if action == "list":
            self._list(service, everything=options["all"], as_json=options["json"])
        elif action == "show":
            self._show(*_find(cast(str, service), [options["id"]]), as_json=options["json"])
        elif action == "replay":
            if options["all"] and options["trust_sender"]:
                raise CommandError("--trust-sender goes with the IDs of letters that you have looked at.")
            letters = _to_replay(service, options["ids"], everything=options["all"])
            self._replay(letters, trust_sender=options["trust_sender"])
        else:
            self._discard(_find(cast(str, service), options["ids"]), options["reason"])

    def _list(self, service: str | None, *, everything: bool, as_json: bool) -> None:
        letters = list(_letters(service, resolved=everything))
        if as_json:
            self.stdout.write(json.dumps([_as_dict(letter) for letter in letters], ensure_ascii=False))
            return
        if not letters:
            self.stdout.write("No dead letters." if everything else "No open dead letters.")
            return
        table = Table(*(Column(name, no_wrap=name in ("letter", "since")) for name in COLUMNS))
        for letter in letters[:SHOWN]:
            table.add_row(*(escape(str(value)) for value in _row(letter)))
        self._console.print(table)
        if len(letters) > SHOWN:
            self._console.print(f"{len(letters) - SHOWN} more not shown; --json has all.")

    def _show(self, letter: Any, *, as_json: bool) -> None:
        fields = _as_dict(letter)
        if as_json:
            self.stdout.write(json.dumps(fields, ensure_ascii=False))
            return
        grid = Table.grid(padding=(0, 2))
        for name, value in fields.items():
            text = json.dumps(value, ensure_ascii=False, indent=2) if name == "event" else str(value)
            grid.add_row(name, escape(text))
        self._console.print(grid)

    def _replay(self, letters: Sequence[Any], *, trust_sender: bool) -> None:
        if is_lost_on_exit():
            raise CommandError(
                "The broker in memory lives in the process of `make up`, and nothing sent from here would reach it: "
                "replay in that process's admin, under Dead letters. Or set BROKER_URL (`make services` prints it)."
            )
        refused = 0
        for sent, letter in enumerate(letters):
            try:
                stafflog.record(letter._meta.app_label, "replay", f"dead letter {letter.pk}")
                dead_letters.replay(letter, trust_sender=trust_sender)
            except dead_letters.REFUSALS as error:
                self.stderr.write(str(error))
                refused += 1
            except OUTAGES as outage:
                raise CommandError(f"The broker is away after {sent - refused} of {len(letters)}: {outage}") from outage
        self.stdout.write(f"{len(letters) - refused} sent to their steps again; what succeeds is resolved.")
        if refused:
            raise CommandError(f"{refused} cannot be replayed: discard them.")

    def _discard(self, letters: Sequence[Any], reason: str) -> None:
        given_up = sum(_discard(letter, reason) for letter in letters)
        already = len(letters) - given_up
        self.stdout.write(f"{given_up} discarded." + (f" {already} had been resolved before." if already else ""))

    @property
    def _console(self) -> Console:
        width = None if self.stdout.isatty() else WIDTH
        return Console(file=cast(IO[str], self.stdout), soft_wrap=True, width=width)


def _letters(service: str | None, *, resolved: bool = False) -> Iterator[Any]:
    for name in [service] if service else local_services():
        letters = apps.get_model(name, "DeadLetter").objects.order_by("pk")
        yield from letters if resolved else letters.filter(resolved_at=None)


def _discard(letter: Any, reason: str) -> bool:
    """Discard a letter and log who did; return whether it was open."""
    service = letter._meta.app_label
    with transaction.atomic(using=service):
        if discarded := dead_letters.discard(letter, reason):
            stafflog.record(service, "discard", f"dead letter {letter.pk}")  # the reason is kept with it
    return discarded


def _to_replay(service: str | None, ids: Sequence[int], *, everything: bool) -> list[Any]:
    if everything and not ids:
        return list(_letters(service))
    if not everything and service and ids:
        return _find(service, ids)
    raise CommandError("Say which: `replay SERVICE ID …`, or `replay --all`, or `replay SERVICE --all`.")


def _find(service: str, ids: Sequence[int]) -> list[Any]:
    found = apps.get_model(service, "DeadLetter").objects.in_bulk(ids)
    if unknown := [pk for pk in ids if pk not in found]:
        raise CommandError(f"{service} has no dead letter {', '.join(map(str, unknown))}.")
    return [found[pk] for pk in ids]


def _row(letter: Any) -> tuple[Any, ...]:
    first_line = letter.error.partition("\n")[0]
    return (
        f"{letter._meta.app_label} {letter.pk}",  # as the other actions expect it
        letter.step,
        letter.event_type or "undecodable",
        letter.correlation_id or "",
        letter.attempts,
        f"{localtime(letter.created_at):%Y-%m-%d %H:%M:%S %Z}",
        letter.resolution or "open",
        first_line if len(first_line) <= 80 else f"{first_line[:79]}…",
    )


def _as_dict(letter: Any) -> dict[str, Any]:
    return {
        "service": letter._meta.app_label,
        "id": letter.pk,
        "step": letter.step,
        "eventType": letter.event_type,
        "eventId": str(letter.event_id or ""),
        "orderId": letter.correlation_id,
        "attempts": letter.attempts,
        "createdAt": letter.created_at.isoformat(),
        "updatedAt": letter.updated_at.isoformat(),
        "resolution": letter.resolution or "open",
        "resolvedAt": letter.resolved_at.isoformat() if letter.resolved_at else None,
        "error": letter.error,
        "event": json.loads(letter.payload),
    }

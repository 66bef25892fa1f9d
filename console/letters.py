"""The open dead letters of all services. Each service's admin replays or discards them, and logs that."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.urls import reverse

from sagas.outages import OUTAGES
from sagas.registry import local_services

SHOWN = 50  # per service


@dataclass
class Letters:
    """One service's letters, newest first. `more` if there are others; `letters` is None while the database is down."""

    service: str
    letters: list[Any] | None
    more: bool
    may_decide: bool

    @property
    def list(self) -> str:
        """The URL of the admin's list, where letters are replayed and discarded."""
        return f"{reverse(f'admin:{self.service}_deadletter_changelist')}?open=1"


def open_letters(user: Any, *, see_all: bool) -> list[Letters]:
    """The services that have open letters, as far as the user may see them."""
    found = []
    for service in local_services():
        if not (see_all or user.has_perm(f"{service}.view_deadletter")):
            continue
        letters: list[Any] | None = None
        try:
            unresolved = apps.get_model(service, "DeadLetter").objects.filter(resolved_at=None)
            letters = list(unresolved.order_by("-pk")[: SHOWN + 1])
        except OUTAGES:
            pass  # None says so
        may_decide = user.has_perm(f"{service}.change_deadletter")
        if letters != []:
            found.append(Letters(service, letters and letters[:SHOWN], len(letters or ()) > SHOWN, may_decide))
    return found

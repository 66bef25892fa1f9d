"""What staff changed, whether by API, in the admin, in the console, or with a command.

Each service keeps its part in its own database, in the transaction of the change, so there is no change without its
entry, and no service has to call another. A trigger refuses to change or delete entries. `manage.py stafflog` prints
all parts as one. Personal data is not repeated here: a changed field is named, but its value is not shown.
"""

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now
from django.http import HttpRequest
from django.http.response import HttpResponseBase

PERSONAL = frozenset({"email", "name", "phone", "address", "password", "password1", "password2"})
APPEND_ONLY = """
CREATE FUNCTION {service}_staffaction_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the staff log is only ever added to'; END $$;
CREATE TRIGGER {service}_staffaction_stays BEFORE UPDATE OR DELETE ON {service}_staffaction
FOR EACH ROW EXECUTE FUNCTION {service}_staffaction_stays();
"""
FORGET = """
DROP TRIGGER {service}_staffaction_stays ON {service}_staffaction;
DROP FUNCTION {service}_staffaction_stays();
"""


class StaffAction(models.Model):
    """A change made by staff. `way` is "api", "admin", "console" or a command's name."""

    at = models.DateTimeField(db_default=Now())
    actor_id = models.BigIntegerField(null=True, help_text="The user; empty for a command.")
    actor = models.CharField(max_length=254)
    way = models.CharField(max_length=32)
    action = models.CharField(max_length=200)
    target = models.CharField(max_length=64)
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["target"], name="%(app_label)s_stafflog")]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} ({self.target})"


class Actor(NamedTuple):
    """The author of a change; `id` is None for a command."""

    id: int | None
    name: str
    way: str


_acting: ContextVar[HttpRequest | Actor | None] = ContextVar("acting", default=None)


def middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Make a request's user the actor while it is handled; a token's user, once the view has authenticated it."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        token = _acting.set(request)
        try:
            return get_response(request)
        finally:
            _acting.reset(token)

    return respond


@contextmanager
def by_command(name: str) -> Iterator[None]:
    """Within the block, the actor is the operating system's user who runs this command."""
    token = _acting.set(Actor(None, getpass.getuser(), name))
    try:
        yield
    finally:
        _acting.reset(token)


def actor() -> Actor | None:
    """Return the current actor if it is staff or a command; None for customers, sagas and timers."""
    acting = _acting.get()
    if not isinstance(acting, HttpRequest):
        return acting
    user = getattr(acting, "user", None)
    if not getattr(user, "is_staff", False):
        return None
    head = acting.path.split("/")[1]
    return Actor(user.pk, str(user), head if head in ("api", "admin") else "console")  # type: ignore[union-attr]


def acts_for(user_id: int | None) -> bool:
    """Whether the actor is staff (or a command) and changes what belongs to another user."""
    who = actor()
    return who is not None and who.id != user_id


def record(
    service: str,
    action: str,
    target: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Record a change by staff or a command, in the transaction of the change. Does nothing for other actors."""
    if who := actor():
        apps.get_model(service, "StaffAction").objects.create(
            actor_id=who.id,
            actor=who.name[:254],
            way=who.way[:32],
            action=action[:200],
            target=target[:64],
            before=_shown(before),
            after=_shown(after),
        )


def _shown(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: "…" if name in PERSONAL else _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Convert a value to JSON; what JSON cannot represent becomes text."""
    if isinstance(value, list | tuple | models.QuerySet):
        return sorted(map(str, value))
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)

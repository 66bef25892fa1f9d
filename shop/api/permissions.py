"""Who may. What somebody may not see does not exist for them: views look rows up through `visible_to`.

A view says for each of its methods who may call it; a method that it does not name is refused, to everybody:

    rights = {"GET": ANYBODY, "POST": "catalog.add_product"}
    rights = {"GET": Own("orders.view_order")}        # one's own rows; with the right everybody's
    hidden = {"address": "delivery.view_address"}     # blank in others' rows without it

Rights are Django's permissions, see `shop/api/rights.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

M = TypeVar("M", bound=Model)

ANYBODY = "anybody"
CARRIER = "a carrier"  # by its signature: no other authentication goes with it


@dataclass(frozen=True)
class Own:
    """Whoever has signed in, for what is theirs; others' with a right, for nobody if that is empty."""

    others: str = ""


Needed = str | Own  # ANYBODY, CARRIER, or a right


def may(user: Any, right: str) -> bool:
    """Whether a user has a right: staff, and given it, by a group or by name."""
    return bool(getattr(user, "is_staff", False) and user.is_active and user.has_perm(right))


def insist(user: Any, right: str) -> None:
    """Raise `PermissionDenied` unless the user has the right."""
    if not may(user, right):
        raise PermissionDenied


class Declared(BasePermission):
    """Whoever the view's `rights` name for the method. `HEAD` is a `GET`; `OPTIONS` tells what the schema tells."""

    def has_permission(self, request: Request, view: Any) -> bool:
        needed = needed_for(view, request.method or "")
        if needed == ANYBODY:
            return True
        if not needed and not hasattr(view, (request.method or "").lower()):
            return True  # there is no such method here, as the answer will say
        if not is_right(needed):
            return request.user.is_authenticated
        return may(request.user, str(needed))


def needed_for(view: Any, method: str) -> Needed:
    """What a view asks for; empty, a right that nobody has, when the method is not declared."""
    declared: Mapping[str, Needed] = getattr(view, "rights", {})
    if method == "OPTIONS":
        return ANYBODY if ANYBODY in declared.values() else Own()
    return declared.get("GET" if method == "HEAD" else method, "")


def is_right(needed: Needed) -> bool:
    """Whether a view asks for a right, rather than for anybody or for whoever has signed in."""
    return isinstance(needed, str) and needed not in (ANYBODY, CARRIER)


def visible_to(user: Any, rows: QuerySet[M], right: str, *, owner: str = "user_id") -> QuerySet[M]:
    """The rows that belong to a user; with the right all of them."""
    return rows if may(user, right) else rows.filter(**{owner: user.id})


def hide(user: Any, rows: Iterable[M], hidden: Mapping[str, str], *, owner: str = "user_id") -> list[M]:
    """The rows, read only to be shown, without those fields of others' rows that the user has no right to see."""
    shown = list(rows)
    blanked = [field for field, right in hidden.items() if not may(user, right)]
    for row in shown:
        if getattr(row, owner) != user.id:
            for field in blanked:
                setattr(row, field, "")
    return shown


class Hiding:
    """A list whose pages leave out the fields that `hidden` names. Rows belong to the user that `owner` says."""

    hidden: ClassVar[Mapping[str, str]]
    owner: ClassVar[str] = "user_id"
    request: Any

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)  # type: ignore[misc]
        return hide(self.request.user, page or (), self.hidden, owner=self.owner)

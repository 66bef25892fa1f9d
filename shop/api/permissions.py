"""Permissions. A row that a user may not see does not exist for them: views look rows up through `visible_to`.

A view declares for each method who may call it. A method that it does not declare is denied to everybody:

    rights = {"GET": ANYBODY, "POST": "catalog.add_product"}
    rights = {"GET": Own("orders.view_order")}        # the user's own rows; all rows with the permission
    hidden = {"address": "delivery.view_address"}     # blanked in other users' rows without the permission

A right is a Django permission; see `shop/api/rights.py`.
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
CARRIER = "a carrier"  # authenticated by its signature only
EMAIL_SERVICE = "the e-mail service"  # likewise
PAYMENT_PROVIDER = "the payment provider"  # likewise, if it signs at all
SIGNED = (CARRIER, EMAIL_SERVICE, PAYMENT_PROVIDER)


@dataclass(frozen=True)
class Own:
    """Allows signed-in users, for their own rows. `others` is the permission for all rows; empty if there is none.

    A program (an OAuth client) owns no rows: without the permission it is refused.
    """

    others: str = ""


Needed = str | Own  # ANYBODY, one of SIGNED, or a right


def may(user: Any, right: str) -> bool:
    """Whether a user is active staff and has the permission, through a group or directly."""
    return bool(getattr(user, "is_staff", False) and user.is_active and user.has_perm(right))


def is_program(user: Any) -> bool:
    """Whether a token says that a program acts for itself (OAuth 2.0, client credentials)."""
    return bool(getattr(user, "client_id", ""))


def insist(user: Any, right: str) -> None:
    """Raise `PermissionDenied` unless the user has the permission."""
    if not may(user, right):
        raise PermissionDenied


class Declared(BasePermission):
    """Allows the users that the view's `rights` name for the method. `HEAD` counts as `GET`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        needed = needed_for(view, request.method or "")
        if needed == ANYBODY:
            return True
        if not needed and not hasattr(view, (request.method or "").lower()):
            return True  # no such method: the answer is 405
        if isinstance(needed, Own) and is_program(request.user):
            return may(request.user, needed.others)
        if not is_right(needed):
            return request.user.is_authenticated
        return may(request.user, str(needed))


def needed_for(view: Any, method: str) -> Needed:
    """Return what a view requires for a method; for an undeclared one an empty string, a permission that nobody has."""
    declared: Mapping[str, Needed] = getattr(view, "rights", {})
    if method == "OPTIONS":
        return ANYBODY if ANYBODY in declared.values() else Own()
    return declared.get("GET" if method == "HEAD" else method, "")


def is_right(needed: Needed) -> bool:
    """Whether a specific permission is required, rather than anybody, a signed request or a signed-in user."""
    return isinstance(needed, str) and needed not in (ANYBODY, *SIGNED)


def visible_to(user: Any, rows: QuerySet[M], right: str, *, owner: str = "user_id") -> QuerySet[M]:
    """Return the user's own rows; all rows if the user has the permission."""
    return rows if may(user, right) else rows.filter(**{owner: user.id})


def hide(user: Any, rows: Iterable[M], hidden: Mapping[str, str], *, owner: str = "user_id") -> list[M]:
    """Blank the fields of other users' rows that the user may not see. The rows must not be saved."""
    shown = list(rows)
    blanked = [field for field, right in hidden.items() if not may(user, right)]
    for row in shown:
        if getattr(row, owner) != user.id:
            for field in blanked:
                setattr(row, field, "")
    return shown


class Hiding:
    """A list view whose pages blank the `hidden` fields. `owner` names the column of the row's user."""

    hidden: ClassVar[Mapping[str, str]]
    owner: ClassVar[str] = "user_id"
    request: Any

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)  # type: ignore[misc]
        return hide(self.request.user, page or (), self.hidden, owner=self.owner)

"""Who may. What somebody may not see does not exist for them: views look rows up through `visible_to`."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

M = TypeVar("M", bound=Model)


class IsStaff(BasePermission):
    """Staff only."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.user.is_authenticated and request.user.is_staff


class IsStaffOrReadOnly(IsStaff):
    """Anybody reads, staff writes."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS or super().has_permission(request, view)


def visible_to(user: Any, rows: QuerySet[M], *, owner: str = "user_id") -> QuerySet[M]:
    """The rows that belong to a user; all of them for staff."""
    return rows if user.is_staff else rows.filter(**{owner: user.id})

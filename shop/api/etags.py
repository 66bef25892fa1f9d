"""`ETag` and `If-Match`: nobody overwrites a version they have not read.

`shop.api.http.ConditionalGet` handles `If-None-Match`.
"""

from http import HTTPStatus

from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from shop.api.problems import Problem

FORMATTED = "+formatted"  # suffix of the ETag of indented JSON: its bytes differ, its version does not


def if_match(*, required: bool) -> OpenApiParameter:
    """The header's description in the schema."""
    return OpenApiParameter(
        "If-Match",
        {"type": "string", "minLength": 1},
        OpenApiParameter.HEADER,
        required=required,
        description="The ETag of the version to be changed, or `*`.",
    )


class IfMatchMissing(Problem):
    """A change needs `If-Match` with the ETag that was read, or `*`."""

    code = "C002"
    status_code = HTTPStatus.PRECONDITION_REQUIRED


def wanted(request: Request, *, required: bool) -> set[str] | None:
    """The versions that `If-Match` names, without quotes; None for any version. Raises `IfMatchMissing`."""
    given = request.headers.get("If-Match", "").strip()
    if not given and required:
        raise IfMatchMissing
    if given in ("", "*"):
        return None
    tags = {tag[1:-1] for tag in parse_etags(given) if tag.startswith('"')}  # weak tags never match
    return {tag.removesuffix(FORMATTED) for tag in tags}

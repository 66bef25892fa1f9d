"""Cursor pagination: a page starts after the last row of the previous page, whatever was inserted or deleted since."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core import signing
from django.db.models import Model, Q
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from shop.api.prepared import Prepared

SALT = "shop.api.cursor"

_first_pages: dict[Any, Prepared[Any]] = {}  # by view, ordering and limit, so there are few


class CursorPagination(BasePagination):
    """Responds with `{next, previous, results}`. Parameters: `limit`, `cursor` and, if the view offers it, `ordering`.

    A view sets `ordering` (default "-id") and `ordering_fields = {"price": "price"}`: the names a client can order by,
    with the model's field, which must not be null. The primary key breaks ties, so no row is repeated or left out.
    Cursors are signed; a forged one is refused. A view sets `same_for_everybody = True` if its rows depend only on the
    query parameters, not on the user.
    """

    default_limit = 20
    max_limit = 100
    template = "rest_framework/pagination/previous_and_next.html"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.request = request
        limit = self._limit()
        self.ordering = self._ordering(view)
        name = self.ordering.lstrip("-")
        self.field = _ordering_fields(view).get(name, name)
        cursor = self._cursor()
        backwards = bool(cursor and cursor["back"])
        descending = self.ordering.startswith("-") != backwards

        if cursor:
            queryset = queryset.filter(self._beyond(queryset.model, cursor, "lt" if descending else "gt"))
        sign = "-" if descending else ""
        keys = (f"{sign}pk",) if self._by_key(queryset.model) else (f"{sign}{self.field}", f"{sign}pk")
        rows = self._rows(view, (*keys, limit), lambda: queryset.order_by(*keys)[: limit + 1])
        more = len(rows) > limit
        self.page = rows[:limit]
        if backwards:
            self.page.reverse()
        self.cursor = cursor
        self.has_next = backwards or more
        self.has_previous = more if backwards else bool(cursor)
        self.display_page_controls = self.has_next or self.has_previous
        return self.page

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        return Response({"next": self._next(), "previous": self._previous(), "results": data})

    def _rows(self, view: Any, page: tuple[Any, ...], queryset: Callable[[], Any]) -> list[Any]:
        """The page's rows. A list that is the same for everybody has its first, unfiltered page prepared."""
        if not getattr(view, "same_for_everybody", False) or self.request.query_params.keys() - {"ordering"}:
            return list(queryset())
        key = (type(view), *page)
        if key not in _first_pages:
            _first_pages[key] = Prepared(queryset)
        return _first_pages[key]()

    # --- Query parameters --------------------------------------------------------------------------------------------
    def _limit(self) -> int:
        given = self.request.query_params.get("limit", str(self.default_limit))
        if not (given.isascii() and given.isdigit() and len(given) < 5 and 1 <= int(given) <= self.max_limit):
            raise ValidationError({"limit": [f"Give a number from 1 to {self.max_limit}."]})
        return int(given)

    def _ordering(self, view: Any) -> str:
        fields = _ordering_fields(view)
        given = self.request.query_params.get("ordering") if fields else None
        if given is None:
            return getattr(view, "ordering", "-id")
        if given.removeprefix("-") not in fields:
            raise ValidationError({"ordering": [f"Order by one of {', '.join(fields)}, with - for descending."]})
        return given

    def _cursor(self) -> dict[str, Any] | None:
        given = self.request.query_params.get("cursor", "")
        if not given:
            return None
        try:
            cursor = signing.loads(given, salt=SALT)
        except signing.BadSignature:
            cursor = {}
        if cursor.get("by") != self.ordering:
            raise ValidationError({"cursor": ["This cursor belongs to another list or order."]})
        return cursor

    # --- Positions ---------------------------------------------------------------------------------------------------
    def _by_key(self, model: type[Model]) -> bool:
        return self.field in ("pk", model._meta.pk.name)

    def _beyond(self, model: type[Model], cursor: Mapping[str, Any], how: str) -> Q:
        past_key = Q(**{f"pk__{how}{'e' if cursor.get('with') else ''}": cursor["pk"]})
        if self._by_key(model):
            return past_key
        value = _field(model, self.field).to_python(cursor["at"])
        return Q(**{f"{self.field}__{how}": value}) | Q(**{self.field: value}) & past_key

    def _link(self, row: Model, *, back: bool) -> str:
        field = _field(type(row), row._meta.pk.name if self._by_key(type(row)) else self.field)
        return self._url({"by": self.ordering, "at": field.value_to_string(row), "pk": str(row.pk), "back": back})

    def _turned_back(self) -> str | None:
        """Return the link back from a page whose rows are gone: it includes the row that the cursor pointed to."""
        return self._url({**self.cursor, "back": not self.cursor["back"], "with": True}) if self.cursor else None

    def _url(self, position: Mapping[str, Any]) -> str:
        url = self.request.build_absolute_uri()
        return replace_query_param(url, "cursor", signing.dumps(position, salt=SALT))

    def _next(self) -> str | None:
        if not self.has_next:
            return None
        return self._link(self.page[-1], back=False) if self.page else self._turned_back()

    def _previous(self) -> str | None:
        if not self.has_previous:
            return None
        return self._link(self.page[0], back=True) if self.page else self._turned_back()

    # --- The browsable API and the schema ----------------------------------------------------------------------------
    def get_html_context(self) -> dict[str, Any]:
        return {"previous_url": self._previous(), "next_url": self._next()}

    def to_html(self) -> str:
        from django.template import loader

        return loader.get_template(self.template).render(self.get_html_context())

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": link | {"example": "https://shop.example.com/api/v1/orders?cursor=eyJi…"},
                "previous": link | {"example": None},
                "results": schema,
            },
            "additionalProperties": False,
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limits = {"type": "integer", "minimum": 1, "maximum": self.max_limit, "default": self.default_limit}
        parameters = [
            _parameter("limit", "Results per page.", limits),
            _parameter("cursor", "Where a page starts; taken from `next` and `previous`.", {"type": "string"}),
        ]
        if names := _ordering_fields(view):
            both = [sign + name for name in names for sign in ("", "-")]
            parameters.append(_parameter("ordering", "Prefix - means descending.", {"type": "string", "enum": both}))
        return parameters


def _field(model: type[Model], name: str) -> Any:
    return model._meta.get_field(name)


def _ordering_fields(view: Any) -> Mapping[str, str]:
    return getattr(view, "ordering_fields", {})


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}

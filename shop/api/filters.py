"""Query parameters with bounds: an invalid value is a 400 and never reaches the database."""

from typing import Any, TypeVar

from django import forms
from django.core.validators import MaxLengthValidator
from django.db.models import Model, QuerySet
from django_filters import rest_framework as filters
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from shop.api.serializers import BIGGEST
from shop.text import LineField

M = TypeVar("M", bound=Model)

LONGEST = 200  # characters


class FilterBackend(DjangoFilterBackend):
    """Filters only if a filter parameter is given: building the filter form takes longer than the query.

    A parameter may be given once; only text parameters may be empty. An unknown one is refused: a list that ignored it
    would show more than was asked for.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[M], view: Any) -> QuerySet[M]:
        known = getattr(getattr(view, "filterset_class", None), "base_filters", {})
        errors = {}
        for name, values in request.query_params.lists():
            if name not in known and name not in _of_every_list(view):
                errors[name] = ["There is no such parameter."]
            elif len(values) > 1:
                errors[name] = ["Give it once."]
            elif not values[0] and name in known and not isinstance(known[name], TextFilter):
                errors[name] = ["Give a value, or leave it out."]
        if errors:
            raise ValidationError(errors)
        return (
            super().filter_queryset(request, queryset, view) if known.keys() & request.query_params.keys() else queryset
        )


def _of_every_list(view: Any) -> set[str]:
    """Return the pagination parameters, and `format`, with which a browser asks for JSON."""
    pages = view.paginator.get_schema_operation_parameters(view) if view.paginator else ()
    return {one["name"] for one in pages} | {"format"}


class IntegerFilter(filters.Filter):
    """Filters by a bigint; not negative unless `min_value` allows it."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        bounds = {"min_value": 0, "max_value": BIGGEST} | kwargs
        super().__init__(*args, **bounds)
        lowest, highest = bounds["min_value"], bounds["max_value"]
        extend_schema_field({"type": "integer", "format": "int64", "minimum": lowest, "maximum": highest})(self)


class MomentFilter(filters.IsoDateTimeFilter):
    """Filters by an ISO 8601 time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        extend_schema_field({"type": "string", "format": "date-time"})(self)


class TextFilter(filters.CharFilter):
    """Filters by a text of up to 200 characters, normalised by `shop.text`."""

    field_class = LineField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"validators": [MaxLengthValidator(LONGEST)]} | kwargs)
        extend_schema_field({"type": "string", "maxLength": LONGEST})(self)

"""Querysets that are made into SQL once.

Django makes the SQL of a query anew each time, which for a row by its key takes three times as long as executing it.
Where a request's query differs by its values only, it is kept.
"""

from collections.abc import Callable
from functools import cached_property
from inspect import signature
from typing import Any, Generic, NamedTuple, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet

from sagas.db.prepared import query

M = TypeVar("M", bound=Model)

STAND_IN = 2**62  # and what follows: values that no query has of its own


class _Statement(NamedTuple):
    database: str
    sql: str
    parameters: list[tuple[str, Any]]  # names of arguments, "" for one that is always the same, and that one
    fields: list[str]


class Prepared(Generic[M]):
    """A queryset of whole rows, as a function of integers:

        order_of = Prepared(lambda order_id: Order.objects.filter(pk=order_id))
        [order] = order_of(order_id=7)

    Raises `ImproperlyConfigured` with its first use for a queryset that shows more than rows of a model.
    """

    def __init__(self, queryset: Callable[..., QuerySet[M]]) -> None:
        self._queryset = queryset

    def __call__(self, **arguments: int) -> list[M]:
        """The rows, as instances."""
        model, (database, sql, parameters, fields) = self._statement
        values = [arguments[name] if name else constant for name, constant in parameters]
        return [model.from_db(database, fields, row) for row in query(database, sql, values)]

    @cached_property
    def _statement(self) -> tuple[type[M], _Statement]:
        stand_ins = {STAND_IN + number: name for number, name in enumerate(signature(self._queryset).parameters)}
        queryset = self._queryset(**{name: value for value, name in stand_ins.items()})
        compiler = queryset.query.get_compiler(using=queryset.db)
        sql, parameters = compiler.as_sql()
        fields = queryset.model._meta.concrete_fields
        columns = [column for column, _, _ in compiler.select]
        if [getattr(one, "target", None) for one in columns] != list(fields) or compiler.get_converters(columns):
            raise ImproperlyConfigured(f"Rows of {queryset.model.__name__} only can be prepared, and as they are kept.")
        named = [(stand_ins.get(value, "") if isinstance(value, int) else "", value) for value in parameters]
        return queryset.model, _Statement(queryset.db, sql, named, [field.attname for field in fields])

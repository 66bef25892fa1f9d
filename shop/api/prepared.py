"""Querysets compiled to SQL once.

Django compiles a query each time, which for a lookup by key takes three times as long as executing it. `Prepared` keeps
the SQL of queries that differ only in their values.
"""

from collections.abc import Callable
from functools import cached_property
from inspect import signature
from typing import Any, Generic, NamedTuple, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, Expression, Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler

from sagas.db.prepared import query

M = TypeVar("M", bound=Model)


class _Argument(Expression):
    """Marks an argument in a query: compiles to a placeholder with this object as its parameter."""

    def __init__(self, name: str) -> None:
        super().__init__(output_field=BigIntegerField())
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return "%s", [self]


class _Statement(NamedTuple):
    database: str
    sql: str
    parameters: list[Any]  # an `_Argument` for each argument, other values as they are
    fields: list[str]


class Prepared(Generic[M]):
    """A queryset of model instances as a function of integers:

        order_of = Prepared(lambda order_id: Order.objects.filter(pk=order_id))
        [order] = order_of(order_id=7)

    Raises `ImproperlyConfigured` on first use if the queryset selects anything but the model's own columns.
    """

    def __init__(self, queryset: Callable[..., QuerySet[M]]) -> None:
        self._queryset = queryset

    def __call__(self, **arguments: int) -> list[M]:
        """The rows, as model instances."""
        model, (database, sql, parameters, fields) = self._statement
        values = [arguments[one.name] if isinstance(one, _Argument) else one for one in parameters]
        return [model.from_db(database, fields, row) for row in query(database, sql, values)]

    @cached_property
    def _statement(self) -> tuple[type[M], _Statement]:
        queryset = self._queryset(**{name: _Argument(name) for name in signature(self._queryset).parameters})
        compiler = queryset.query.get_compiler(using=queryset.db)
        sql, parameters = compiler.as_sql()
        fields = queryset.model._meta.concrete_fields
        columns = [column for column, _, _ in compiler.select]
        if [getattr(one, "target", None) for one in columns] != list(fields) or compiler.get_converters(columns):
            raise ImproperlyConfigured(
                f"Only whole rows of {queryset.model.__name__}, without converted columns, can be prepared."
            )
        return queryset.model, _Statement(queryset.db, sql, list(parameters), [field.attname for field in fields])

"""camelCase on the wire, snake_case in the code. Unknown fields and values of the wrong type are refused.

A field declared as `unit_price` is `unitPrice` on the wire. Types are strict: "5" is not an integer, 5 is not a text,
1 is not a boolean.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from operator import attrgetter
from typing import Any, TypeVar

from django.core.validators import RegexValidator, URLValidator
from django.db import models
from django.utils.functional import cached_property
from rest_framework import serializers

from shop.text import check_line, check_lines, tidy

BIGGEST = 2**63 - 1  # the largest bigint

_M = TypeVar("_M", bound=models.Model)
_Field = serializers.Field[Any, Any, Any, Any]


def camel_case(name: str) -> str:
    """`unit_price` as `unitPrice`."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


class Integer(serializers.IntegerField):
    """An integer within the range of a bigint, or narrower bounds. As in JSON Schema, 5.0 is an integer, if exact."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": -BIGGEST - 1, "max_value": BIGGEST} | kwargs)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer() and abs(data) <= 2**53:
            return int(data)
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return data


class Identifier(Integer):
    """An id: a positive bigint."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 1} | kwargs)


class _StrictText:
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid")  # type: ignore[attr-defined]
        text = super().to_internal_value(data)  # type: ignore[misc]
        return tidy(text) if self.trim_whitespace else text  # type: ignore[attr-defined]


class Text(_StrictText, serializers.CharField):
    """A text of one line, normalised by `shop.text`; empty only with `allow_blank`.

    A text with a pattern of its own is not normalised, nor is one with `trim_whitespace=False`, such as a key of the
    client's choice.
    """

    check = staticmethod(check_line)
    lines = False

    def __init__(self, **kwargs: Any) -> None:
        if any(isinstance(one, RegexValidator) for one in kwargs.get("validators", ())):
            kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)
        if self.trim_whitespace and self.check not in self.validators:
            self.validators.append(self.check)


class Lines(Text):
    """A text of several lines."""

    check = staticmethod(check_lines)
    lines = True


class Email(_StrictText, serializers.EmailField):
    """An e-mail address."""


class Url(Text):
    """A URL. For a `secure` one the schema requires HTTPS, although a development machine may accept HTTP."""

    def __init__(self, *, secure: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": False} | kwargs)
        self.secure = secure
        self.validators.append(URLValidator(["http", "https"]))


class Moment(serializers.DateTimeField):
    """A time, in UTC."""

    def to_representation(self, value: Any) -> Any:
        return value and value.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Choice(serializers.ChoiceField):
    """One of several texts."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=type(data).__name__)
        return super().to_internal_value(data)


class Boolean(serializers.BooleanField):
    """true or false."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


_fields_of: dict[type, Any] = {}
_shown_by: dict[type, list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]] = {}


class _Wire:
    """Makes a serializer use the wire format.

    Fields are built once per class. Django REST framework builds them for each serializer, which took longer than
    reading or writing an order. So a field must not use its serializer's context or data.
    """

    @cached_property
    def fields(self) -> Any:
        kind = type(self)
        if self.partial:  # type: ignore[attr-defined]  # fields depend on it, and few serializers are partial
            return super().fields  # type: ignore[misc]
        if kind not in _fields_of:
            _fields_of[kind] = super(_Wire, kind()).fields  # type: ignore[misc]
        return _fields_of[kind]

    def get_fields(self) -> dict[str, _Field]:
        fields: dict[str, _Field] = {}
        for name, field in super().get_fields().items():  # type: ignore[misc]
            shown = camel_case(name)
            if shown != name and field.source is None:
                field.source = name
            fields[shown] = field
        return fields

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Like Django REST framework, but looks up each field's accessor once per class instead of once per row."""
        kind = type(self)
        if self.partial or isinstance(instance, Mapping):  # type: ignore[attr-defined]
            return super().to_representation(instance)  # type: ignore[misc]
        if kind not in _shown_by:
            _shown_by[kind] = [
                (name, _getter(field), field.to_representation)
                for name, field in self.fields.items()
                if not field.write_only
            ]
        return {name: None if (value := get(instance)) is None else show(value) for name, get, show in _shown_by[kind]}

    def to_internal_value(self, data: Any) -> Any:
        errors: dict[str, Any] = {}
        if isinstance(data, Mapping):
            known = {name: field.read_only for name, field in self.fields.items()}
            for name in data:
                if known.get(name, True):
                    errors[name] = ["This field is read-only." if name in known else "There is no such field."]
        try:
            value = super().to_internal_value(data)  # type: ignore[misc]
        except serializers.ValidationError as invalid:
            if not errors or not isinstance(invalid.detail, dict):
                raise
            errors |= invalid.detail
        if errors:
            raise serializers.ValidationError(errors)
        return value


def _getter(field: _Field) -> Callable[[Any], Any]:
    """A function that reads a field's value from an instance: an attribute path, or the field's own `get_attribute`."""
    if type(field).get_attribute is serializers.Field.get_attribute and field.source_attrs:
        return attrgetter(".".join(field.source_attrs))
    return field.get_attribute


class Serializer(_Wire, serializers.Serializer[Any]):
    """A serializer in the wire format."""


class ModelSerializer(_Wire, serializers.ModelSerializer[_M]):
    """A model serializer in the wire format. Adds `createdAt` and `updatedAt` as the last fields."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.IntegerField: Integer,
        models.BigIntegerField: Integer,
        models.PositiveIntegerField: Integer,
        models.CharField: Text,
        models.TextField: Lines,
        models.EmailField: Email,
        models.URLField: Url,
        models.BooleanField: Boolean,
        models.DateTimeField: Moment,
    }
    serializer_choice_field = Choice

    created_at = Moment(read_only=True)
    updated_at = Moment(read_only=True)

    def get_field_names(self, declared_fields: Mapping[str, _Field], info: Any) -> list[str]:
        names = list(super().get_field_names(declared_fields, info))
        return [*(name for name in names if name not in ("created_at", "updated_at")), "created_at", "updated_at"]

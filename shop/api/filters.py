"""Query parameters: each with bounds, so that what cannot be read is a 400 and nothing reaches the database unread."""

from typing import Any

from django import forms
from django.core.validators import MaxLengthValidator
from django_filters import rest_framework as filters

from shop.api.serializers import BIGGEST


class IntegerFilter(filters.Filter):
    """Compares with an integer that fits a bigint; not negative unless `min_value` says so."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"min_value": 0, "max_value": BIGGEST} | kwargs)


class TextFilter(filters.CharFilter):
    """Compares with a text of up to 200 characters."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"validators": [MaxLengthValidator(200)]} | kwargs)

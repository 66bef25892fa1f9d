"""`Prefer` (RFC 7240)."""

import re

from django.http import HttpRequest
from rest_framework.request import Request

_instance = re.compile(r'(?:"(?:\\.|[^"\\])*"?|[^,"])+')  # between commas, those in quotes aside


def preference(request: HttpRequest | Request, name: str) -> str | None:
    """The value of the first preference of that name, "" for one without a value, None without one.

    Names are compared in any case, a value may be quoted, and what follows a semicolon is another matter.
    """
    for one in _instance.findall(request.headers.get("Prefer", "")):
        given, _, value = one.partition(";")[0].partition("=")
        if given.strip().lower() == name:
            return value.strip().strip('"').strip()
    return None

"""`Prefer` (RFC 7240)."""

import re

from django.http import HttpRequest
from rest_framework.request import Request

_instance = re.compile(r'(?:"(?:\\.|[^"\\])*"?|[^,"])+')  # the parts between commas, except those in quotes


def preference(request: HttpRequest | Request, name: str) -> str | None:
    """Return the value of the first preference with this name: "" if it has no value, None if there is none.

    Names are case-insensitive, a value may be quoted, and parameters after a semicolon are ignored.
    """
    for one in _instance.findall(request.headers.get("Prefer", "")):
        given, _, value = one.partition(";")[0].partition("=")
        if given.strip().lower() == name:
            return value.strip().strip('"').strip()
    return None

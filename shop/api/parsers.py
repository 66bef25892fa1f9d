"""Strict JSON: some of what a lenient parser accepts would cause a 500 later, or is ambiguous."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import parse_qsl

from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from shop.api.problems import InvalidInput, TooLarge

DEEPEST = 32
MOST_FIELDS = 100  # of a form
LONGEST_NUMBER = 32  # characters


class _Refused(ValueError):
    """Valid JSON that we do not accept."""


class StrictJSONParser(BaseParser):
    """Reads a UTF-8 JSON body of bounded size, depth and number length, without NUL or duplicate keys."""

    media_type = "application/json"
    renderer_class = JSONRenderer  # of what forms of the browsable API begin with

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Parse the body. Raises `TooLarge`, `InvalidInput`."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"The body is larger than {limit} bytes.")
        return loads(body)


class FormParser(BaseParser):
    """Reads a UTF-8 form of bounded size, without NUL or repeated parameters (RFC 6749, 3.2)."""

    media_type = "application/x-www-form-urlencoded"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """Parse the body. Raises `TooLarge`, `InvalidInput`."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"The body is larger than {limit} bytes.")
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
        except ValueError:
            raise InvalidInput("The body is not a form in UTF-8.") from None
        form = dict(pairs)
        if len(form) < len(pairs) or any("\0" in text for pair in pairs for text in pair):
            raise InvalidInput("The form has a parameter twice, or a NUL.")
        return form


def loads(body: bytes) -> Any:
    """Parse a JSON text. Raises `InvalidInput`."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        _inspect(value)
    except RecursionError:
        raise InvalidInput(f"The JSON is nested deeper than {DEEPEST} levels.") from None
    except _Refused as refusal:
        raise InvalidInput(str(refusal)) from None
    except UnicodeDecodeError:
        raise InvalidInput("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _Refused("An object has the same key twice.")
    return members


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise _Refused("A number is too long.")
    return int(text)


def _float(text: str) -> float:
    number = float(text) if len(text) <= LONGEST_NUMBER else math.inf
    if math.isinf(number):
        raise _Refused("A number is too long.")
    return number


def _constant(text: str) -> None:
    raise _Refused(f"{text} is not JSON.")


def _inspect(value: Any) -> None:
    """Check what the decoder does not: depth, and characters that cannot be stored."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, str):
                _inspect_text(one)
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, dict):
                inner += one.keys()
                inner += one.values()
        if not inner:
            return
        level = inner
    raise RecursionError


def _inspect_text(text: str) -> None:
    if "\x00" in text:
        raise _Refused("A text contains NUL.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Refused("A text contains half a surrogate pair.") from None

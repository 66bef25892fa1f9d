"""Additions to the OpenAPI schema: the problems of every operation, and that unknown fields are refused.

A view lists the problems of its own rules, by method: `problems = {"POST": [UnknownProduct, PaymentDeclined]}`. Those
of the framework around it (authentication, parsing, throttling) are added here.

Clients are generated from the schema (tests/clients). For their sake all problems are one type, each response lists its
codes in `x-codes`, and all properties of a response are required, as they are always present.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from django.core.validators import RegexValidator
from drf_spectacular.drainage import has_override
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_serializer
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import SAFE_METHODS
from rest_framework.serializers import BaseSerializer, ListField

from shop.api import problems
from shop.api.error_codes import CODES
from shop.api.permissions import ANYBODY, Own, is_right, needed_for
from shop.api.problems import Problem, problem_for
from shop.api.serializers import BIGGEST, Text, Url
from shop.contracts.errors import ContractError
from shop.text import pattern

S = TypeVar("S", bound=BaseSerializer[Any])

MEDIA_TYPE = "application/problem+json"
ID = {"type": "integer", "format": "int64", "minimum": 1, "maximum": BIGGEST}
LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
WEB_ADDRESS = rf"^https?://({LABEL}\.){{1,3}}[a-z]{{2,16}}(/[A-Za-z0-9._~/-]*)?$"
FIELD_ERROR = {
    "type": "object",
    "description": "What is wrong with one field.",
    "required": ["field", "value", "reason"],
    "properties": {
        "field": {"type": "string"},
        "value": {
            "type": ["string", "number", "boolean", "null"],
            "description": "What was sent, shortened; null for secrets.",
        },
        "reason": {"type": "string"},
    },
}
PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code", "timestamp", "traceId", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "enum": list(CODES)},
        "timestamp": {"type": "string", "format": "date-time"},
        "traceId": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
        "error": {"type": "string", "description": "Of POST /api/v1/oauth/token: the error of RFC 6749, 5.2."},
        "totalPrice": {"type": "integer", "description": "With O004: what the order costs now."},
        "orderId": {"type": "integer", "description": "The number of an order that was placed and then refused."},
    },
    "additionalProperties": False,
}
ANSWERED_WITH = {
    401: {"WWW-Authenticate": "The authentication scheme to use."},
    429: {"Retry-After": "Seconds until the next try."},
    503: {"Retry-After": "Seconds until the next try."},
}


def example(
    *, request: Any = None, response: Any = None, sent_as: str = "application/json", **more: Any
) -> Callable[[type[S]], type[S]]:
    """Decorate a serializer with an example request, in the media type `sent_as`, and response; and with `more`
    requests, by what they are."""
    requests = {"Request": request, **more} if request is not None else more
    examples = [OpenApiExample(name, one, request_only=True, media_type=sent_as) for name, one in requests.items()]
    if response is not None:
        examples.append(OpenApiExample("Answer", response, response_only=True))
    return extend_schema_serializer(examples=examples)


def created_at(*statuses: int) -> OpenApiParameter:
    """The `Location` header of responses."""
    return OpenApiParameter(
        "Location",
        {"type": "string", "format": "uri-reference"},
        OpenApiParameter.HEADER,
        required=True,
        response=list(statuses),
        description="The URL of the new resource.",
    )


def tagged(*statuses: int) -> OpenApiParameter:
    """The `ETag` header of responses."""
    return OpenApiParameter(
        "ETag",
        str,
        OpenApiParameter.HEADER,
        required=True,
        response=list(statuses),
        description="The version that was read: for `If-Match` with a change, and `If-None-Match` with the next read.",
    )


class NotAuthenticated(Problem):
    """Say who you are: the token is missing, forged or has expired."""

    code = "C006"


class Forbidden(Problem):
    """You lack the permission for this (a program owns nothing itself), or a browser's request lacks its CSRF token."""

    code = "C005"


class Throttled(Problem):
    """Too many of these requests within a minute. Wait for as long as Retry-After says."""

    code = "C007"


class UnsupportedMediaType(Problem):
    """The body must be application/json."""

    code = "C004"


class NotAcceptable(Problem):
    """The response is application/json, which the request does not accept."""

    code = "C004"
    status_code = 406


class Schema(AutoSchema):
    """Adds an operation's problems, and closes objects to unknown fields."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            needed = needed_for(self.view, self.method)
            if is_right(needed):
                operation["x-right"] = needed
            if operation.get("security") == [{}]:
                operation["security"] = []  # equivalent in OpenAPI; generators require a token unless it is empty
            if self.method == "POST" and "requestBody" in operation:
                operation["requestBody"]["required"] = True
            operation["responses"] |= _responses(self.problems("requestBody" in operation), self.path)
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"].endswith("_id"):
                    parameter["schema"] = ID
        return operation

    def problems(self, with_body: bool) -> Sequence[type[Problem]]:
        """The problems that the operation may answer with."""
        own = getattr(self.view, "problems", {}).get(self.method, ())
        declared = (problem_for(one) if issubclass(one, ContractError) else one for one in own)
        return [*self._of_the_framework(with_body), *declared]

    def _of_the_framework(self, with_body: bool) -> Iterator[type[Problem]]:
        writing = self.method not in SAFE_METHODS
        authenticators, needed = self.view.get_authenticators(), needed_for(self.view, self.method)
        yield problems.InvalidInput
        yield NotAcceptable
        if authenticators:
            yield NotAuthenticated
        by_session = any(isinstance(one, SessionAuthentication) for one in authenticators)
        if is_right(needed) or isinstance(needed, Own) or (writing and by_session):
            yield Forbidden
        if "{" in self.path:
            yield problems.NotThere
        if with_body:
            yield problems.TooLarge
            yield UnsupportedMediaType
        if any(self.method in getattr(one, "methods", ()) for one in self.view.throttle_classes):
            yield Throttled
        yield Problem
        yield problems.TemporarilyUnavailable

    def get_auth(self) -> list[Any]:
        """Return the security requirements; `x-right` names the permission, as HTTP schemes have no scopes."""
        required = super().get_auth()
        return [*required, {}] if needed_for(self.view, self.method) == ANYBODY else required

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction) | {"additionalProperties": False}
        if direction == "response":
            schema["required"] = sorted(schema["properties"])
        return schema

    def _map_serializer_field(self, field: Any, direction: Any, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)
        if direction == "request" and isinstance(field, Url):
            schema["pattern"] = WEB_ADDRESS.replace("s?", "s") if field.secure else WEB_ADDRESS
        elif direction == "request" and isinstance(field, Text) and _is_plain(field):
            schema["pattern"] = pattern(lines=field.lines)
        if isinstance(field, ListField):
            limits = {"minItems": 0 if field.allow_empty else 1, "maxItems": field.max_length}
            schema |= {name: limit for name, limit in limits.items() if limit is not None}
        return schema


def _is_plain(field: Text) -> bool:
    """Whether a field has no rule of its own about characters, only the one for every text."""
    if has_override(field, "field") or any(isinstance(one, RegexValidator) for one in field.validators):
        return False
    return field.trim_whitespace


def _responses(kinds: Sequence[type[Problem]], path: str) -> dict[str, Any]:
    by_status: dict[int, list[type[Problem]]] = defaultdict(list)
    for kind in kinds:
        by_status[int(kind.status_code)].append(kind)
    return {str(status): _response(status, by_status[status], path) for status in sorted(by_status)}


def _response(status: int, kinds: Sequence[type[Problem]], path: str) -> dict[str, Any]:
    codes = sorted({kind.code for kind in kinds})
    response: dict[str, Any] = {
        "description": "; ".join(f"{code} {CODES[code].title.lower()}" for code in codes) + ".",
        "x-codes": codes,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.__name__: {"value": _example(kind, path)} for kind in kinds},
            }
        },
    }
    if headers := ANSWERED_WITH.get(status):
        response["headers"] = {
            name: {"description": text, "required": True, "schema": {"type": "string"}}
            for name, text in headers.items()
        }
    return response


def _example(kind: type[Problem], path: str) -> dict[str, Any]:
    one = kind()
    return {
        "type": f"urn:shop:problem:{kind.code}",
        "title": CODES[kind.code].title,
        "status": int(kind.status_code),
        "detail": one.detail,
        "instance": path,
        "code": kind.code,
        "timestamp": "2026-11-23T09:00:00+00:00",
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "errors": [],
        **one.members,
    }


def add_problem(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: adds the schema of problem documents."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(Problem=PROBLEM, FieldError=FIELD_ERROR)
    return result

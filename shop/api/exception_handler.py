"""Every error is answered with a problem document, `application/problem+json` (RFC 9457).

`exception_handler` covers the API's views. `ProblemMiddleware` covers errors outside of them: unknown URLs, oversized
bodies, forbidden hosts, errors that Django itself answers.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from django.utils import timezone
from opentelemetry import trace
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import set_rollback

from sagas.outages import OUTAGES
from shop.api.error_codes import CODES, code_of_status
from shop.api.problems import FieldError, InvalidInput, NotThere, Problem, TemporarilyUnavailable, TooLarge, problem_for
from shop.contracts.errors import ContractError

MEDIA_TYPE = "application/problem+json"
LONGEST_ECHO = 100  # characters of a client's value that are echoed
MOST_ERRORS = 50
NEVER_ECHOED = re.compile("password|token|secret|refresh|access|authorization", re.IGNORECASE)
KEPT_HEADERS = frozenset(("Allow", "Accept-Encoding"))  # headers that say what would have been accepted
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# The detail of an error that our code did not raise.
DETAILS = {
    400: "The request cannot be understood.",
    403: "This is not allowed.",
    404: NotThere.__doc__,
    405: "This address does not know that method.",
    411: "Say how long the body is (Content-Length).",
    413: TooLarge.__doc__,
    415: "Send the body as it is: no Content-Encoding is understood.",
    500: "Something went wrong on our side. It has been logged under this traceId.",
}


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response | None:
    """Django REST framework's hook: the response for an exception. None for a bug, which becomes a logged 500."""
    error = _translated(exception)
    if error is None:
        return None
    set_rollback()
    request = context["request"]
    headers: dict[str, str] = {}
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(max(1, round(wait)))
    if isinstance(error, Problem):
        body = problem(request, code=error.code, status=error.status_code, detail=error.detail, errors=error.errors)
        body |= error.members
    else:
        body = problem(
            request,
            code=code_of_status(error.status_code),
            status=error.status_code,
            detail=_sentence(error),
            errors=_field_errors(error, request),
        )
    browsing = getattr(getattr(request, "accepted_renderer", None), "format", "") == "api"
    return Response(body, error.status_code, headers=headers, content_type=None if browsing else MEDIA_TYPE)


def problem(
    request: HttpRequest, *, code: str, status: int, detail: str, errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """The problem document."""
    return {
        "type": f"urn:shop:problem:{code}",
        "title": CODES[code].title,
        "status": int(status),
        "detail": detail,
        "instance": _bounded(request.path),
        "code": code,
        "timestamp": timezone.now().isoformat(),
        "traceId": trace_id(request),
        "errors": list(errors[:MOST_ERRORS]),
    }


def trace_id(request: HttpRequest) -> str:
    """The id to search for in traces and logs: the trace id if there is a trace, else the request id."""
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id) if span.is_valid else getattr(request, "request_id", "")


class ProblemMiddleware:
    """Gives each request an id (`X-Request-ID`, in and out), and turns other error responses into problem documents.

    It comes before all middleware that may refuse a request, so that it sees their responses. Outside the API, browsers
    still get HTML.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request.request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex  # type: ignore[attr-defined]
        response = self.get_response(request)
        if response.status_code >= 400 and not isinstance(response, Response) and not _is_for_a_browser(request):
            response = _problem_response(request, response)
        response.headers["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        return response


def _is_for_a_browser(request: HttpRequest) -> bool:
    return not request.path.startswith("/api/") and "text/html" in request.headers.get("Accept", "")


def _problem_response(request: HttpRequest, refused: HttpResponseBase) -> HttpResponseBase:
    if refused.headers.get("Content-Type", "").startswith(("application/json", MEDIA_TYPE)):
        return refused  # has a body of its own, like /readyz
    status = refused.status_code
    if status == HTTPStatus.BAD_REQUEST and _is_too_large(request):  # Django answers 400 itself
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    detail = DETAILS.get(status) or refused.reason_phrase
    body = problem(request, code=code_of_status(status), status=status, detail=detail)
    response = HttpResponse(json.dumps(body), content_type=MEDIA_TYPE, status=status)
    for name in KEPT_HEADERS.intersection(refused.headers):
        response.headers[name] = refused.headers[name]
    return response


def _is_too_large(request: HttpRequest) -> bool:
    length = request.META.get("CONTENT_LENGTH") or "0"
    return length.isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def _translated(exception: Exception) -> exceptions.APIException | None:
    match exception:
        case exceptions.APIException():
            return exception
        case ContractError():
            return problem_for(type(exception))(exception.detail)
        case Http404():
            return NotThere()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case RequestDataTooBig():
            return TooLarge()
        case SuspiciousOperation() | UnreadablePostError():
            return InvalidInput(DETAILS[400] or "")
        case DjangoValidationError():
            return exceptions.ValidationError(as_serializer_error(exception))
        case DataError():  # a value out of range that no field has caught
            return InvalidInput("A value is out of range.")
        case _ if isinstance(exception, OUTAGES):
            return TemporarilyUnavailable()
    return None


def _sentence(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "Some fields are not valid." if isinstance(error.detail, dict) else InvalidInput.__doc__ or ""
    detail = error.detail.get("detail", "") if isinstance(error.detail, dict) else error.detail
    return str(detail)


def _field_errors(error: exceptions.APIException, request: Any) -> list[FieldError]:
    if not isinstance(error, exceptions.ValidationError):
        return []
    sent = request.query_params if request.method in ("GET", "HEAD", "DELETE") else request.data
    return list(_flat(error.detail, sent, ""))


def _flat(detail: Any, sent: Any, path: str) -> Iterator[FieldError]:
    """Flatten Django REST framework's nested field errors, each with the value that was sent."""
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            if key == "nonFieldErrors":
                yield from _flat(inner, None, path)
            elif isinstance(key, int):
                yield from _flat(inner, _item(sent, key), f"{path}[{key}]")
            else:
                value = sent.get(key) if isinstance(sent, Mapping) else None
                yield from _flat(inner, value, f"{path}.{key}".lstrip("."))
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for index, inner in enumerate(detail):
            if isinstance(inner, str):
                yield from _flat(inner, sent, path)
            else:
                yield from _flat(inner, _item(sent, index), f"{path}[{index}]")
    else:
        yield {"field": _bounded(path), "value": _echo(path, sent), "reason": str(detail)}


def _item(sent: Any, index: int) -> Any:
    return sent[index] if isinstance(sent, list) and index < len(sent) else None


def _echo(path: str, value: Any) -> Any:
    """The value that was sent, shortened; None for secrets and for nested values."""
    if NEVER_ECHOED.search(path):
        return None
    if isinstance(value, str):
        return _bounded(value)
    return value if isinstance(value, bool | int | float) else None


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST_ECHO else f"{text[:LONGEST_ECHO]}…"

"""What goes wrong becomes a problem document, whoever noticed."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError, OperationalError, ProgrammingError
from django.http import Http404
from django.test import Client, RequestFactory
from opentelemetry.sdk.trace import TracerProvider
from rest_framework import exceptions
from rest_framework.test import APIClient
from rest_framework.views import APIView

from sagas import Unavailable
from shop.api.error_codes import CODES
from shop.api.exception_handler import ProblemMiddleware
from shop.api.problems import Problem
from shop.contracts.accounts import UnknownUser

FIELDS = ["type", "title", "status", "detail", "instance", "code", "timestamp", "traceId", "errors"]


class NoTea(Problem):
    """There is no tea left.

    This part is for programmers.
    """

    code = "I002"


def raising(error):
    """The answer of a view that raises."""

    class View(APIView):
        authentication_classes = []
        permission_classes = []

        def get(self, request):
            raise error

    request = RequestFactory().get("/api/v1/tea")
    answer: Any = ProblemMiddleware(View.as_view())(request)
    answer.render()
    return answer, json.loads(answer.content)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoTea, 409, "I002"),
        (NoTea("No Darjeeling."), 409, "I002"),
        (UnknownUser, 404, "U001"),
        (Http404, 404, "C010"),
        (exceptions.NotFound, 404, "C010"),
        (exceptions.PermissionDenied, 403, "C005"),
        (exceptions.MethodNotAllowed("PUT"), 405, "C003"),
        (exceptions.UnsupportedMediaType("x"), 415, "C004"),
        (exceptions.Throttled(2.2), 429, "C007"),
        (exceptions.ParseError, 400, "C002"),
        (exceptions.ValidationError({"a": ["no"]}), 400, "C002"),
        (exceptions.ValidationError("no"), 400, "C002"),
        (exceptions.APIException, 500, "C001"),
        (DjangoValidationError("no"), 400, "C002"),
        (DjangoValidationError({"a": ["no"]}), 400, "C002"),
        (RequestDataTooBig, 413, "C002"),
        (SuspiciousOperation, 400, "C002"),
        (DataError("out of range"), 400, "C002"),
        (OperationalError("server closed the connection"), 503, "C008"),
        (Unavailable("catalog"), 503, "C008"),
        (ConnectionRefusedError(), 503, "C008"),
    ],
)
def test_an_exception_becomes_a_document(error, status, code):
    answer, body = raising(error)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert list(body) == FIELDS
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert (body["title"], body["instance"]) == (CODES[code].title, "/api/v1/tea")
    assert datetime.fromisoformat(body["timestamp"]).tzinfo == UTC
    assert body["traceId"] == answer.headers["X-Request-ID"]
    assert "server closed" not in answer.content.decode()


def test_the_docstring_is_what_the_client_reads():
    assert raising(NoTea)[1]["detail"] == "There is no tea left."
    assert raising(NoTea("No Darjeeling."))[1]["detail"] == "No Darjeeling."
    assert raising(UnknownUser)[1]["detail"] == "There is no such user."
    assert raising(UnknownUser("There is no user 7."))[1]["detail"] == "There is no user 7."


def test_the_client_is_told_when_to_come_back():
    assert raising(exceptions.Throttled(2.2))[0].headers["Retry-After"] == "3"
    assert raising(OperationalError())[0].headers["Retry-After"] == "3"


def test_nested_errors_have_paths():
    detail: Any = {"items": [{}, {"quantity": ["too many"]}], "x": {"y": ["a", "b"]}, "list": {3: ["odd"]}}
    errors = raising(exceptions.ValidationError(detail))[1]["errors"]
    assert [(error["field"], error["reason"]) for error in errors] == [
        ("items[1].quantity", "too many"),
        ("x.y", "a"),
        ("x.y", "b"),
        ("list[3]", "odd"),
    ]


def test_a_code_that_is_not_in_the_table_is_noticed_at_import():
    with pytest.raises(KeyError):
        type("Strange", (Problem,), {"code": "X999"})


def test_a_bug_is_not_hidden():
    with pytest.raises(ProgrammingError):
        raising(ProgrammingError("no such table"))


@pytest.mark.urls("tests.support.problem_urls")
@pytest.mark.parametrize("debug", [True, False])
def test_a_bug_is_a_500_without_its_secrets(debug, settings, caplog):
    settings.DEBUG = debug
    answer = Client(raise_request_exception=False).get("/api/bug")
    assert (answer.status_code, answer.json()["code"]) == (500, "C001")
    assert "hunter2" not in answer.content.decode()
    assert "hunter2" in caplog.text


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("path", ["/nope", "/api/v1/nope", "/api/v1/products/", "/api/v1/products/1/2", "/livez/x"])
def test_no_such_address(path, debug, settings):
    settings.DEBUG = debug
    answer = Client().get(path, headers={"Accept": "*/*"})
    assert (answer.status_code, answer.json()["code"]) == (404, "C010")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_browser_keeps_its_pages_outside_the_api():
    answer = Client().get("/nope", headers={"Accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    answer = Client().get("/api/v1/nope", headers={"Accept": "text/html,*/*"})
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("address", ["/api/v1/products/%00", "/api/v1/products?search=%00", "/%00"])
def test_nul_is_refused_everywhere(address):
    answer = Client().get(address)
    assert (answer.status_code, answer.json()["code"]) == (400, "C002")


def test_nul_is_refused_in_cookies():
    answer = Client().get("/account/second-factor", headers={"Cookie": r'sessionid="\000aaaaaaaaaaaaaaaa"'})
    assert (answer.status_code, answer.json()["code"]) == (400, "C002")


def test_a_foreign_host_is_refused():
    answer = Client().get("/api/v1/products", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "C002")


def test_the_wrong_method():
    answer = Client().post("/livez")
    assert (answer.status_code, answer.json()["code"]) == (405, "C003")
    assert answer.headers["Allow"] == "GET, HEAD"


def test_a_form_without_its_csrf_token():
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/admin/login/", {"username": "x"}, headers={"Accept": "*/*"})
    assert (answer.status_code, answer.json()["code"]) == (403, "C005")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_form_that_is_too_large(settings):
    body = b"username=" + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    form = "application/x-www-form-urlencoded"
    answer = Client().post("/admin/login/", body, content_type=form)
    assert (answer.status_code, answer.json()["code"]) == (413, "C002")


def test_a_form_of_too_many_fields():
    answer = Client().post("/admin/login/", {f"f{number}": "" for number in range(2000)})
    assert (answer.status_code, answer.json()["code"]) == (400, "C002")


def test_an_answer_nobody_can_give():
    answer = APIClient().get("/api/v1/users/me", headers={"Accept": "application/xml"})
    assert (answer.status_code, answer.json()["code"]) == (406, "C004")


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_3", True), ("x" * 65, False), ("a b", False), ("", False)])
def test_the_request_id_of_the_caller_is_kept(given, kept):
    answer = Client().get("/livez", headers={"X-Request-ID": given})
    assert (answer.headers["X-Request-ID"] == given) is kept
    assert len(answer.headers["X-Request-ID"]) >= 9


def test_the_trace_is_named_when_there_is_one():
    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        body = raising(NoTea)[1]
    assert body["traceId"] == f"{span.get_span_context().trace_id:032x}"

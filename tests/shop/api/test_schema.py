"""The API's description: that it is valid, that it tells every error, and that the API does what it says."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import Client, override_settings
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from accounts.models import User
from accounts.services import issue
from catalog.services import create_product
from inventory.services import seed_stock
from shop.api.error_codes import CODES
from shop.contracts.events import Line
from tests.support.ordering import place_order
from tests.support.processes import Process, eventually

ROOT = settings.BASE_DIR
METHODS = {"get", "post", "put", "patch", "delete"}
# `SCHEMATHESIS_EXAMPLES=100 make test ARGS=tests/shop/api/test_schema.py` makes several thousand cases.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "1")
PHASES = "examples,coverage,fuzzing" + (",stateful" if int(EXAMPLES) > 1 else "")
FEWEST_CASES = 500


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return Client().get("/api/v1/schema/", headers={"Accept": "application/json"}).json()


def test_it_is_made_once_for_all_strangers(monkeypatch: pytest.MonkeyPatch):
    paths = ["/api/v1/schema/", "/api/v1/schema/?format=json"]
    before = [Client().get(path) for path in paths]
    monkeypatch.setattr("drf_spectacular.generators.SchemaGenerator.get_schema", None)  # would raise
    for more in ("", "lang=ko", "version=2"):
        for path, first in zip(paths, before, strict=True):
            again = Client(headers={"Accept-Language": "ko"}).get(f"{path}{'&' if '?' in path else '?'}{more}")
            assert (again.content, again.headers["Content-Type"]) == (first.content, first.headers["Content-Type"])
    assert before[0].headers["Content-Type"].startswith("application/vnd.oai.openapi")
    assert before[0].content.startswith(b"openapi: 3.1.0")
    assert before[1].json()["openapi"] == "3.1.0"
    asked = {"Accept": "application/json; indent=1"}  # not a version for everybody who asks for another one
    assert Client(headers=asked).get(paths[0]).content == before[1].content


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def validator(schema: dict[str, Any], part: Any) -> Draft202012Validator:
    """Of a part of the description, whose references lead into the whole."""
    whole = Resource(contents=schema, specification=DRAFT202012)
    absolute = json.loads(json.dumps(part).replace('"$ref": "#', '"$ref": "urn:whole#'))
    registry: Any = Registry().with_resource("urn:whole", whole)
    return Draft202012Validator(absolute, registry=registry)


def test_it_is_valid_openapi_31(schema: dict[str, Any]):
    assert schema["openapi"].startswith("3.1")
    validate_schema(schema)
    for component in schema["components"]["schemas"].values():
        Draft202012Validator.check_schema(component)


def test_examples_are_what_their_schemas_say(schema: dict[str, Any]):
    seen = 0
    for name, operation in operations(schema).items():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (one for body in bodies for one in body.get("content", {}).values()):
            for example in content.get("examples", {}).values():
                errors = list(validator(schema, content["schema"]).iter_errors(example["value"]))
                assert errors == [], (name, example)
                seen += 1
    assert seen > 100


def test_every_operation_says_who_may_and_what_goes_wrong(schema: dict[str, Any]):
    schemes = set(schema["components"]["securitySchemes"])
    assert {"bearer", "cookieAuth", "carrierSignature"} <= schemes
    told = set()
    signing_in = {f"POST /api/v1/auth/{path}" for path in ("token", "token/refresh", "logout")}
    signing_in |= {"POST /api/v1/oauth/token", "POST /api/v1/auth/email/confirm"}
    for name, operation in operations(schema).items():
        assert operation["summary"], name
        assert operation["description"], name
        assert {scheme for one in operation["security"] for scheme in one} <= schemes
        problems = {status for status in operation["responses"] if status >= "400"}
        assert {"400", "406", "500", "503"} <= problems, name
        assert ("401" in problems) == (operation["security"] != [] or name in signing_in), name
        if "x-right" in operation:
            assert "403" in problems, name
        if "requestBody" in operation:
            assert {"413", "415"} <= problems, name
            assert "examples" in next(iter(operation["requestBody"]["content"].values())), name
        for status in problems:
            (content,) = operation["responses"][status]["content"].values()
            told |= {example["value"]["code"] for example in content["examples"].values()}
    assert set(CODES) - told == {"C003", "PAY001", "PAY003", "D002"}  # of no operation, or kept for later


def test_the_table_of_errors_is_up_to_date():
    call_command("errors", check=True, verbosity=0)


def test_the_errors_are_printed_as_a_table():
    out = StringIO()
    call_command("errors", stdout=out)
    assert re.search(r"│ O002 +│ 409 +│ Order already cancelled +│", out.getvalue())
    assert "| `" not in out.getvalue()


# --- The API does what it says ----------------------------------------------------------------------------------------
@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A web server as deployed, on the test's databases, with something of everything in them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    databases = {
        f"{service.upper()}_DATABASE_URL": _database_url(connections[service].settings_dict)
        for service in settings.SERVICES
    }
    environment = {
        **os.environ,
        **databases,
        "DEBUG": "0",
        "SANDBOX": "1",
        "SECRET_KEY": "x" * 10 + settings.SECRET_KEY,
    }
    environment |= {"JWT_PRIVATE_KEY": settings.JWT_PRIVATE_KEY, "ALLOWED_HOSTS": "127.0.0.1"}
    environment |= dict.fromkeys(
        ["TOKENS_PER_MINUTE", "SIGN_UPS_PER_MINUTE", "LETTERS_PER_MINUTE", "ORDERS_PER_MINUTE"], "0"
    )
    granian = ["-m", "granian", "--interface", "wsgi", "--blocking-threads", "2", "--port", str(port)]
    command = [sys.executable, *granian, "shop.wsgi:application"]
    web = Process("web", command, environment, tmp_path / "web.log")
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(url))
        yield url
    finally:
        web.tell_to_stop()
        web.has_stopped()


def _database_url(config: dict[str, Any]) -> str:
    user = f"{config['USER']}:{config['PASSWORD']}@" if config["PASSWORD"] else f"{config['USER']}@"
    return f"postgres://{user}{config['HOST']}:{config['PORT']}/{config['NAME']}"


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.mark.django_db(databases=list(settings.SERVICES), transaction=True)
def test_a_body_is_read_however_it_is_framed(url: str):
    """Django reads what Content-Length says, and a body in chunks has none."""
    sent = {"Content-Type": "application/json"}
    credentials = b'{"email": "nobody@example.com", "password": "guess"}'
    for body in (credentials, iter([credentials[:9], credentials[9:]])):
        answer = httpx.post(f"{url}/api/v1/auth/token", content=body, headers=sent, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (401, "C006"), answer.text


@pytest.mark.django_db(databases=list(settings.SERVICES), transaction=True)
def test_schemathesis_finds_nothing(url: str, tmp_path: Path):
    products = [create_product(name=f"Product {number}", price=1000) for number in range(3)]
    seed_stock({product.pk: 1000 for product in products})
    customer = User.objects.create(email="hana@example.com", name="Hana", password="!")
    place_order(user_id=customer.pk, lines=[Line(product_id=products[0].pk, quantity=1)])
    staff = User.objects.create(email="boss@example.com", name="Boss", password="!", is_staff=True, is_superuser=True)

    with override_settings(STAFF_TOKEN_LIFETIME=timedelta(hours=1)):  # the run takes more than a minute
        token = issue(staff).access

    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "schemathesis.toml"), "run"),
            *(f"{url}/api/v1/schema/?format=json", "--header", f"Authorization: Bearer {token}"),
            *("--checks", "all", "--phases", PHASES, "--max-examples", EXAMPLES, "--continue-on-failure", "--no-color"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # for the hooks
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
    cases = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert cases, run.stdout
    print(run.stdout[-1500:])
    assert int(cases[1]) == int(cases[2]) > FEWEST_CASES

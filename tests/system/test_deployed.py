"""The shop as deployed: Django's own checks have nothing to say, and plain HTTP is sent to HTTPS."""

import os
import secrets
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from shop.checks import check_sandbox

PRODUCTION = {
    "DEBUG": "0",
    "SANDBOX": "0",
    "HTTPS": "1",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "INTERNAL_SECRET": secrets.token_urlsafe(48),
    "ALLOWED_HOSTS": "shop.example.com",
    "SEAL_KEY": secrets.token_urlsafe(48),
    "JWT_PUBLIC_KEY": settings.SIMPLE_JWT["VERIFYING_KEY"],
    "BROKER_URL": "amqp://shop:secret@rabbitmq:5672/shop",
}


@pytest.mark.parametrize("service", ["", "orders"], ids=["all in one", "one service"])
def test_checks_for_deployment_find_nothing(service: str):
    own = {"DATABASE_URL": "", "ORDERS_DATABASE_URL": "postgres://orders@db/orders"} if service else {}
    answer = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=settings.BASE_DIR,
        env={"DATABASE_URL": "postgres://db/"} | os.environ | PRODUCTION | {"SHOP_SERVICE": service} | own,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr


def refused(*command: str, **environment: str) -> str:
    """What a process says that does not start, or checks that find something."""
    answer = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env={"DATABASE_URL": "postgres://db/"} | os.environ | PRODUCTION | environment,
        capture_output=True,
        text=True,
    )
    assert answer.returncode != 0
    return answer.stderr


@pytest.mark.parametrize("name", ["SECRET_KEY", "INTERNAL_SECRET", "SEAL_KEY", "CARRIER_WEBHOOK_SECRET"])
def test_a_secret_that_can_be_guessed_keeps_the_shop_from_starting(name: str):
    assert f"{name} has 1 characters" in refused("check", **{name: "x"})


def test_a_sandbox_in_production_is_told_of_part_by_part():
    said = refused("check", "--deploy", "--fail-level", "WARNING", SANDBOX="1")
    assert [id for id in ("shop.W001", "shop.W002", "shop.I003") if id in said] == [
        "shop.W001",
        "shop.W002",
        "shop.I003",
    ]


def test_what_the_shop_cannot_do_without_its_sandbox_is_told_of(settings: Any):
    settings.SANDBOX, settings.CARRIER_WEBHOOK_SECRET = False, ""
    assert [one.id for one in check_sandbox()] == ["shop.I001", "shop.I002", "shop.I003"]
    settings.CARRIER_WEBHOOK_SECRET, settings.SMS_SENDER = "x" * 32, "somebody.Sms"
    assert [one.id for one in check_sandbox()] == ["shop.I001"]


def test_nothing_in_the_cache_is_a_pickle(settings: Any):
    for name in ("default", "locks"):
        assert settings.CACHES[name]["OPTIONS"]["SERIALIZER"] == "django_redis.serializers.json.JSONSerializer"


@pytest.fixture
def _https(settings: Any) -> None:
    """What HTTPS=1 sets."""
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 3600


@pytest.mark.usefixtures("_https")
def test_plain_http_is_sent_to_https_but_for_probes_from_within():
    assert Client().get("/api/v1/products").headers["Location"] == "https://testserver/api/v1/products"
    assert Client().get("/livez").status_code == 200

    answer = Client().get("/docs/", headers={"X-Forwarded-Proto": "https"})
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=3600"


def test_without_https_nothing_is_redirected():
    assert not settings.HTTPS
    assert Client().get("/docs/", headers={"X-Forwarded-Proto": "https"}).wsgi_request.scheme == "http"
    assert "Strict-Transport-Security" not in Client().get("/docs/").headers


def test_headers_that_browsers_heed():
    headers = Client().get("/docs/").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"

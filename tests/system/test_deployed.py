"""The shop as deployed: Django's own checks have nothing to say, and plain HTTP is sent to HTTPS."""

import ast
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from shop.callers import derived_key
from shop.checks import check_carriers, check_messengers, check_sandbox
from shop.contracts.carriers import ConfiguredCarrier
from tests.support.calls import entry

PRODUCTION = {
    "DEBUG": "0",
    "SANDBOX": "0",
    "HTTPS": "1",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "INTERNAL_KEY": derived_key("of these tests", "orders"),
    "INTERNAL_CALLERS": entry("orders"),
    "ALLOWED_HOSTS": "shop.example.com",
    "SEAL_KEY": secrets.token_urlsafe(48),
    "JWT_PUBLIC_KEY": settings.SIMPLE_JWT["VERIFYING_KEY"],
    "BROKER_URL": "amqp://shop:secret@rabbitmq:5672/shop",
}
LONG = "unguessable" * 4


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


@pytest.mark.parametrize(
    ("name", "ring"),
    [
        ("SECRET_KEY", "x"),
        ("SECRET_KEY", f"{LONG},x"),
        ("SEAL_KEY", f"{LONG}, x"),
        ("CARRIER_WEBHOOK_SECRETS", f"CJ={LONG},HJ=x"),
        ("CARRIER_EASYPOST_WEBHOOK_SECRET", "x"),
        ("GATEWAY_STRIPE_WEBHOOK_SECRET", "x"),
    ],
)
def test_a_secret_that_can_be_guessed_keeps_the_shop_from_starting(name: str, ring: str):
    accounts = {"CARRIERS": "EASYPOST=easypost", "PAYMENT_GATEWAYS": "STRIPE=stripe"}
    assert f"{name} has 1 characters" in refused("check", **accounts, **{name: ring})


def test_two_carriers_have_two_secrets():
    said = refused("check", CARRIER_WEBHOOK_SECRETS=f"CJ={LONG},HJ={LONG}")
    assert "HJ in CARRIER_WEBHOOK_SECRETS has a secret of CJ" in said


@pytest.mark.parametrize(("name", "key"), [("INTERNAL_KEY", "x"), ("INTERNAL_CALLERS", f"orders={LONG}")])
def test_so_does_a_key_that_is_none(name: str, key: str):
    assert "64 hexadecimal digits" in refused("check", **{name: key})


@pytest.mark.parametrize(
    "account",
    [
        {"CARRIERS": "CJ=sandbox"},
        {"CARRIERS": "EASYPOST=easypost", "CARRIER_EASYPOST_API_KEY": "EZTK0"},
        {"PAYMENT_GATEWAYS": "STRIPE=stripe", "GATEWAY_STRIPE_SECRET_KEY": "sk_test_0"},
        {"PAYMENT_GATEWAYS": "TOSS=toss", "GATEWAY_TOSS_SECRET_KEY": "test_sk_0"},
        {"PAYMENT_GATEWAYS": "KAKAO=kakao", "GATEWAY_KAKAO_SECRET_KEY": "DEV0"},
        {"PAYMENT_GATEWAYS": "KAKAO=kakao", "GATEWAY_KAKAO_CID": "TC0ONETIME"},
        {"PAYMENT_GATEWAYS": "NAVER=naver", "GATEWAY_NAVER_MODE": "development"},
    ],
    ids=lambda account: " ".join(account.values()),
)
def test_what_only_pretends_does_not_start_without_the_sandbox(account: dict[str, str]):
    assert "SANDBOX=1 to show the shop" in refused("check", **account)


def test_nothing_pretends_unless_it_is_said():
    """Without DEBUG and SANDBOX there is no sandbox, no carrier, no remote control, and a limit of messages."""
    names = ["SANDBOX", "CARRIERS", "MESSAGES_PER_HOUR"]
    asked = f"from django.conf import settings as s; print([getattr(s, name) for name in {names}])"
    asked += "; from shop.celery import app; print(app.conf.worker_enable_remote_control)"
    environment = {"DATABASE_URL": "postgres://db/"} | os.environ | PRODUCTION
    for name in ("SANDBOX", "REMOTE_CONTROL", "MESSAGES_PER_HOUR"):
        environment.pop(name, None)
    said = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {asked}"],
        cwd=settings.BASE_DIR,
        env=environment | {"DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines() == ["[False, {}, 60]", "False"]


def test_a_sandbox_in_production_is_told_of_part_by_part():
    said = refused("check", "--deploy", "--fail-level", "WARNING", SANDBOX="1")
    assert [id for id in ("shop.W001", "shop.W002", "shop.I003") if id in said] == [
        "shop.W001",
        "shop.W002",
        "shop.I003",
    ]


def test_what_the_shop_cannot_do_without_its_sandbox_is_told_of(settings: Any):
    settings.SANDBOX, settings.CARRIERS = False, {}
    assert [one.id for one in check_sandbox()] == ["shop.I001", "shop.I002", "shop.I003"]
    settings.CARRIERS, settings.SMS_SENDER = {"CJ": ConfiguredCarrier("numbered", {})}, "somebody.Sms"
    assert [one.id for one in check_sandbox()] == ["shop.I001"]


def test_what_a_carrier_cannot_do_without_is_told_of(settings: Any):
    settings.CARRIERS = {
        "CJ": ConfiguredCarrier("numbered", {}),
        "US": ConfiguredCarrier("easypost", {"api_key": "EZAK", "weight": "16"}),
    }
    settings.CARRIER_SECRETS = {}
    silent, incomplete = check_carriers()
    assert (silent.id, incomplete.id) == ("shop.W005", "shop.E005")
    assert incomplete.msg == "The carrier US needs CARRIER_US_SENDER."
    settings.CARRIER_SECRETS = {"CJ": [LONG]}
    settings.CARRIERS["US"] = ConfiguredCarrier("easypost", {"api_key": "EZAK", "weight": "16", "sender": "Shop"})
    assert check_carriers() == []


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


# --- Secrets in files -------------------------------------------------------------------------------------------------
SHOWN = """
import shop.settings as s
print(s.SECRET_KEY, *s.SECRET_KEY_FALLBACKS, *s.SEAL_KEYS, s.BROKER_URL, s.DATABASES["orders"]["PASSWORD"])
"""


def started(**environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", SHOWN], cwd=settings.BASE_DIR, env=clean | environment, capture_output=True, text=True
    )


def test_every_variable_may_be_in_a_file(tmp_path: Path):
    values = {
        "SECRET_KEY": f"{LONG}, {LONG} before",
        "SEAL_KEY": "of seals alone and long enough for it",
        "BROKER_URL": "amqp://shop:secret@rabbitmq//",
        "DATABASE_URL": "postgres://shop:password@db/",
    }
    files = {}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")  # as an editor leaves it
        files[f"{name}_FILE"] = str(tmp_path / name)

    done = started(**files)

    assert done.returncode == 0, done.stderr
    shown = [LONG, f"{LONG} before", values["SEAL_KEY"], values["BROKER_URL"], "password"]
    assert done.stdout == f"{' '.join(shown)}\n"
    (tmp_path / "SEAL_KEY").unlink()
    assert f"SEAL_KEY_FILE is {tmp_path}/SEAL_KEY: No such file" in started(**files).stderr


def test_what_the_services_for_messages_lack_is_found(settings: Any):
    settings.EMAIL_SERVICE, settings.ANYMAIL = "postmark", {}
    settings.SMS_SERVICE, settings.SMS_SENDER = "solapi", "notifications.solapi.Solapi"
    settings.SMS_OPTIONS = {"key": "x", "sender": ""}
    assert [(one.id, one.msg) for one in check_messengers()] == [
        ("shop.E006", "postmark needs EMAIL_SERVICE_KEY."),
        (
            "shop.W006",
            "Bounces and complaints are not heard: set EMAIL_SERVICE_WEBHOOK_SECRET=user:password.",
        ),
        ("shop.E007", "solapi needs SMS_SERVICE_SECRET, SMS_SERVICE_SENDER."),
    ]
    settings.ANYMAIL = {"POSTMARK_SERVER_TOKEN": "x", "WEBHOOK_SECRET": "user:password"}
    settings.SMS_SENDER = "somebody.Sms"
    assert check_messengers() == []


@pytest.mark.parametrize("variable", ["EMAIL_SERVICE", "SMS_SERVICE"])
def test_a_service_that_there_is_not_keeps_the_shop_from_starting(variable: str):
    assert f"{variable} is 'pigeon'" in refused("check", **{variable: "pigeon"})


def test_a_service_s_options_are_variables_or_files(tmp_path: Path):
    (tmp_path / "key").write_text("secret\n")
    given = {
        "EMAIL_SERVICE": "mailgun",
        "EMAIL_SERVICE_KEY_FILE": str(tmp_path / "key"),
        "EMAIL_SERVICE_SENDER_DOMAIN": "mg.example.com",
        "EMAIL_SERVICE_URL": "",
        "EMAIL_SERVICE_WEBHOOK_SECRET": f"user:{LONG}",
        "SMS_SERVICE": "solapi",
        "SMS_SERVICE_SENDER": "0212345678",
    }
    names = ["EMAIL_BACKEND", "ANYMAIL", "SMS_SENDER", "SMS_OPTIONS"]
    asked = f"from django.conf import settings as s; print([getattr(s, name) for name in {names}])"
    environment = os.environ | PRODUCTION | given | {"DJANGO_SETTINGS_MODULE": "shop.settings"}
    said = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=settings.BASE_DIR,
        env={"DATABASE_URL": "postgres://db/"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(said.stdout) == [
        "anymail.backends.mailgun.EmailBackend",
        {
            "REQUESTS_TIMEOUT": 10,
            "MAILGUN_API_KEY": "secret",
            "MAILGUN_SENDER_DOMAIN": "mg.example.com",
            "WEBHOOK_SECRET": f"user:{LONG}",
        },
        "notifications.solapi.Solapi",
        {"sender": "0212345678"},
    ]

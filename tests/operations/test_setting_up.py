"""`migrate_all` and `seed`: from a server without our databases to a shop with sample data."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command

from shop.api.rights import GROUPS
from shop.calls import connect
from shop.contracts.catalog import CatalogService
from tests.support.flushing import drop_all
from tests.support.gateway import free_port

SERVICES = list(settings.SERVICES)
OF_DJANGO = {"django_otp_webauthn", "otp_static", "otp_totp", "auth", "contenttypes", "sessions", "admin"}

SURVEY = """
import django, json
django.setup()
from django.db import connections
from django.contrib.contenttypes.models import ContentType
from django.contrib.auth.models import Group, Permission
def labels(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT DISTINCT app FROM django_migrations")
        return sorted(row[0] for row in cursor.fetchall())
from django.conf import settings
print(json.dumps({
    "migrations": {name: labels(name) for name in settings.SERVICES},
    "content_types": sorted(set(ContentType.objects.values_list("app_label", flat=True))),
    "groups": {group.name: group.permissions.count() for group in Group.objects.all()},
    "permissions": [one.content_type.app_label for one in Permission.objects.filter(codename="view_order")],
}))
"""


@pytest.fixture
def fresh(django_db_blocker):
    """The environment of a server that has none of our databases; they are dropped at the end."""
    if settings.EMBEDDED:
        pytest.fail("This needs a PostgreSQL server, and `make test` provides one: DATABASE_URL is not set.")
    prefix = f"fresh_{uuid4().hex[:8]}_"
    own = {f"{service.upper()}_DATABASE_URL": "" for service in SERVICES}
    yield os.environ | own | {"DATABASE_PREFIX": prefix, "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "shop.settings"}
    with django_db_blocker.unblock():
        drop_all(prefix)


def run(environment, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=settings.BASE_DIR
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", ["manage.py", "scripts/run.py"])
def test_what_another_user_has_left_is_a_sentence(tmp_path: Path, program: str):
    """root ran the shop here first. A directory in the file's place cannot be read by root, either."""
    (tmp_path / "secret-key").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}
    environment |= {"SHOP_VAR": str(tmp_path), "DEBUG": "1", "DATABASE_URL": "postgres://nobody@127.0.0.1:1/"}
    environment |= {"PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
    command = [sys.executable, program, *(["check"] if program == "manage.py" else [])]
    done = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert f"{tmp_path / 'secret-key'}: Is a directory." in done.stderr
    assert "chown -R, or name another one in SHOP_VAR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path):
    command = [
        "make",
        "--no-print-directory",
        "-f",
        str(settings.BASE_DIR / "Makefile"),
        "-C",
        str(tmp_path),
        "PYTHON=",
        "up",
    ]
    (tmp_path / "requirements.txt").touch()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "There is no python3 here. On Debian and Ubuntu: sudo apt-get install python3" in done.stderr


def test_from_nothing_to_up_to_date(fresh):
    code, out, err = run(fresh, "manage.py", "migrate_all", "--check")
    assert (code, out.count("no database")) == (1, 7), err

    code, out, err = run(fresh, "manage.py", "migrate_all")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == SERVICES
    assert all("created, " in line and "migrations applied" in line for line in out.splitlines())

    for arguments in (["--check"], []):
        code, out, err = run(fresh, "manage.py", "migrate_all", *arguments)
        assert (code, out.count("up to date")) == (0, 7), err

    code, out, err = run(fresh, "-c", SURVEY)
    assert code == 0, err
    survey = json.loads(out)
    assert set(survey["migrations"].pop("accounts")) == OF_DJANGO | {"accounts"}
    assert survey["migrations"] == {service: [service] for service in SERVICES if service != "accounts"}
    assert set(survey["content_types"]) == OF_DJANGO | set(SERVICES) | {"shop"}
    assert survey["permissions"] == ["orders"]
    assert survey["groups"] == {name: len(set(rights)) for name, rights in GROUPS.items()}


def test_without_a_server_the_error_says_so(fresh):
    code, _, err = run(fresh | {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/"}, "manage.py", "migrate_all")
    assert code == 1
    assert "CommandError: accounts:" in err
    assert "Traceback" not in err


@pytest.mark.django_db(databases=SERVICES)
class TestSeed:
    def seed(self) -> str:
        out = StringIO()
        call_command("seed", stdout=out)
        return out.getvalue()

    @pytest.fixture(autouse=True)
    def _development(self, settings, monkeypatch):
        settings.DEBUG = True
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        monkeypatch.setenv("SEED_PASSWORD", "seed-pass-1")

    def test_the_contracts_sample_data(self):
        out = self.seed()
        assert out == "Seeded 10 products, 11 stock records, 4 users.\n"
        products = connect(CatalogService).get_products(range(1, 11))
        assert [products[key].price for key in range(1, 11)] == [
            3500000, 1550000, 1690000, 159000, 129000, 230000, 33000, 36000, 250000, 899000,
        ]  # fmt: skip
        stock = apps.get_model("inventory", "StockItem").objects.order_by("location_id", "product_id")
        assert list(stock.values_list("location_id", "on_hand")) == [
            ("BUSAN", 10), *(("MAIN", pieces) for pieces in (10, 50, 30, 100, 80, 40, 150, 120, 15, 15)),
        ]  # fmt: skip
        users = apps.get_model("accounts", "User").objects.order_by("email")
        assert [(user.email, user.is_staff, user.check_password("seed-pass-1")) for user in users] == [
            ("admin@example.com", True, True),
            ("customer1@example.com", False, True),
            ("customer2@example.com", False, True),
            ("customer3@example.com", False, True),
        ]

    def test_twice_is_once(self):
        self.seed()
        apps.get_model("inventory", "StockItem").objects.filter(product_id=1).update(on_hand=3)
        assert self.seed() == "Seeded 0 products, 0 stock records, 0 users.\n"
        assert apps.get_model("inventory", "StockItem").objects.get(product_id=1).on_hand == 3

    def test_a_generated_password_is_printed_once(self, monkeypatch):
        monkeypatch.delenv("SEED_PASSWORD")
        password = self.seed().split(": ")[-1].strip()
        assert apps.get_model("accounts", "User").objects.get(email="admin@example.com").check_password(password)
        assert "Password" not in self.seed()

    def test_not_in_production(self, settings):
        settings.DEBUG = False
        with pytest.raises(CommandError, match="DEBUG=1"):
            self.seed()
        assert apps.get_model("catalog", "Product").objects.count() == 0

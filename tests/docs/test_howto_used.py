"""docs/howto/add-a-step.md and add-a-service.md in a checkout that has been used: its databases hold orders already."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.docs.test_howto import BLOCK, LEFT, PAGE, SERVICE, add_the_service, write, write_rows
from tests.support.gateway import free_port
from tests.support.processes import ROOT, Process
from tests.system.test_embedded import KEPT, PATIENCE

PAID = {"productId": 7, "quantity": 1, "address": "12 High Street", "paymentToken": "tok_ok"}
CLOSE = "from orders.models import Order; Order.objects.update(look_at=None)"  # as the timer does after a while
TOLD = "from loyalty.models import Stamp; from payments.models import Receipt; print(*("
TOLD += "sorted(model.objects.values_list('order_id', flat=True)) for model in (Receipt, Stamp)))"


class User:
    """Somebody in a checkout of their own, embedded, who places orders and waits for their end."""

    def __init__(self, checkout: Path) -> None:
        self.checkout, self.port = checkout, free_port()
        own = {"SHOP_VAR": str(checkout / "var"), "PORT": str(self.port), "HANDOVER_AFTER": "0", "DELIVERED_AFTER": "0"}
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ} | own

    def manage(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=self.checkout, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def place_one(self) -> None:
        """Serve, place an order, follow it to its end, and stop."""
        log = self.checkout / "up.log"
        up = Process("up", [sys.executable, "manage.py", "up"], self.environment, log, cwd=self.checkout)
        try:
            up.says("Ctrl-C stops it.", PATIENCE)
            password = (self.checkout / "var" / "seed-password").read_text()
            token = self._post("auth/token", {"email": "customer1@example.com", "password": password})["access"]
            placed = self._post("orders", PAID, token)
            assert "OrderCompleted" in self.manage("saga", str(placed["id"]), "--follow")
        finally:
            up.tell_to_stop()
            up.has_stopped()

    def _post(self, path: str, body: dict[str, object], token: str = "") -> dict[str, object]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        with urlopen(Request(url, json.dumps(body).encode(), headers)) as answer:
            return dict(json.load(answer))


@pytest.fixture
def user() -> Iterator[User]:
    with tempfile.TemporaryDirectory(prefix="shop-") as path:
        Path(path).chmod(0o755)  # root runs PostgreSQL as somebody else
        yield User(Path(shutil.copytree(ROOT, f"{path}/shop", ignore=shutil.ignore_patterns(*LEFT))))


@pytest.mark.documented
@pytest.mark.soak
def test_a_step_and_a_service_are_added_where_there_are_orders(user: User):
    checkout = user.checkout
    user.place_one()
    user.manage("shell", "-v0", "-c", CLOSE)
    user.manage("audit", "--strict")

    for found in BLOCK.finditer(PAGE.read_text()):
        add = write_rows if found["file"] == "shop/saga.py" else write
        add(checkout / found["file"], found["code"])
    made = user.manage("makemigrations", "payments", "-n", "receipts")
    assert ("Create model Receipt" in made, "Warning" in made) == (True, False), made
    add_the_service(checkout)
    assert "no issues" in user.manage("check")

    user.place_one()
    assert user.manage("shell", "-v0", "-c", TOLD).strip() == "[2] [2]"
    for page in (PAGE, SERVICE):
        assert re.search(r"audit says so[;.]\s+`manage.py redrive --missing` delivers", page.read_text())
    assert "violations" in user.manage("audit", "--strict", code=1)
    user.manage("redrive", "--missing")
    assert "Audit clean" in user.manage("audit", "--strict")
    assert user.manage("shell", "-v0", "-c", TOLD).strip() == "[1, 2] [1, 2]"

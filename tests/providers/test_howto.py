"""docs/howto/toss.md is followed, with a stand-in in the place of Toss Payments."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from io import StringIO
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.core.management import call_command
from rest_framework.test import APIClient

from inventory.services import seed_stock
from lab.providers.toss import SECRET_KEY, Toss
from payments import gateways
from payments.gateways.http import Limits
from sagas.testing import Bus
from shop.contracts.payments import ADAPTERS, Configured
from tests.conftest import SERVICES
from tests.support.fakes import Caller
from tests.support.ordering import ADDRESS

PAGE = settings.BASE_DIR / "docs/howto/toss.md"


def configured(secret: Path) -> dict[str, str]:
    """The page's variables, with a file of one's own."""
    lines = re.findall(r"^(\w+)=(\S+)$", PAGE.read_text(), re.MULTILINE)
    assert [name for name, _ in lines] == ["PAYMENT_GATEWAYS", "GATEWAY_TOSS_SECRET_KEY_FILE", "PUBLIC_URL"]
    return dict(lines) | {"GATEWAY_TOSS_SECRET_KEY_FILE": str(secret)}


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False,
        cwd=settings.BASE_DIR,
    )  # fmt: skip


def gateways_of(**environment: str) -> dict[str, Configured]:
    """The payment gateways of a shop with these variables."""
    asked = "from django.conf import settings; import json; print(json.dumps(settings.PAYMENT_GATEWAYS))"
    done = shell("-c", asked, DJANGO_SETTINGS_MODULE="shop.settings", **environment)
    return {name: Configured(*one) for name, one in json.loads(done.stdout).items()}


def test_see_it_without_a_contract():
    (switch,) = re.findall("^(\\w+)=(1) make up$", PAGE.read_text(), re.MULTILINE)
    known = gateways_of(DEBUG="1", **dict([switch]))
    assert known["TOSS_STAND_IN"].adapter == "toss"
    assert "`TOSS_STAND_IN`" in PAGE.read_text()


@pytest.mark.django_db(databases=SERVICES)
def test_what_the_page_configures_takes_money_at_the_stand_in(tmp_path, bus: Bus, no_waiting, settings, monkeypatch):
    page, secret = PAGE.read_text(), tmp_path / "toss-secret-key"
    secret.write_text(f"{SECRET_KEY}\n")
    with Toss() as toss:
        variables = configured(secret) | {"GATEWAY_TOSS_URL": toss.url}
        commands = re.findall("^python (manage.py .+)$", page, re.MULTILINE)
        assert len(commands) == 2
        for command in commands:
            said = shell(*command.split(), **variables)
            assert "shop.E003" not in said.stderr
            if "check" in command:
                assert "(shop.W003) The payment gateway TOSS has a key for tests." in said.stderr
            else:
                assert re.search(r"gateway TOSS\s.*127\.0\.0\.1", said.stdout), said.stdout
        settings.PAYMENT_GATEWAYS, settings.PUBLIC_URL = gateways_of(**variables), variables["PUBLIC_URL"]
        monkeypatch.setattr(gateways, "_made", {})
        assert list(settings.PAYMENT_GATEWAYS) == ["TOSS"]

        seed_stock({1: 10})
        customer = APIClient()
        customer.force_authenticate(Caller(1))  # type: ignore[arg-type]
        wanted = {"productId": 1, "quantity": 2, "address": ADDRESS, "paymentGateway": "TOSS"}
        order = f"/api/v1/orders/{customer.post('/api/v1/orders', wanted, format='json').json()['id']}"
        bus.drain()
        url = customer.get(order).json()["nextAction"]["url"]
        assert url.startswith(toss.url)
        back = httpx.post(url, data={"action": "pay"}).headers["Location"]
        assert back.startswith(f"{settings.PUBLIC_URL}/")
        assert "is paid" in customer.get(back.removeprefix(settings.PUBLIC_URL), follow=True).content.decode()
        bus.drain()
        assert customer.get(order).json()["status"] == "COMPLETED"

        (webhook,) = re.findall(f"`{re.escape(settings.PUBLIC_URL)}(/\\S+)`", page)
        for headers, body in toss.notifications:
            told = APIClient().post(webhook, body, content_type="application/json", headers=headers)
            assert told.status_code == 202
        (reconcile,) = re.findall("`python manage.py (reconcile [^`]+)`", page)
        printed = StringIO()
        today = datetime.now(gateways.gateway("TOSS").zone).date()
        call_command(*reconcile.split(), "--day", str(today), stdout=printed)
        assert "1 movements there, 1 entries here, no differences" in printed.getvalue()
        gateways.gateway("TOSS").provider.close()  # type: ignore[attr-defined]


def test_the_page_says_what_is_so():
    page = PAGE.read_text()
    for name, default in Limits()._asdict().items():
        if name != "probing":
            assert f"| `GATEWAY_TOSS_{name.upper()}` | `{default:g}` |" in page
    for name, adapter in ADAPTERS.items():
        if adapter.wants and name != "toss":
            wants = ", ".join(f"`{option.upper()}`" for option in adapter.wants)
            assert f"| `{name}` | {wants} |" in page

"""docs/howto/toss.md is followed, with a stand-in in the place of Toss Payments."""

import os
import re
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from lab.providers.toss import SECRET_KEY, Toss
from payments.gateways import Authorization, Captured, Return
from payments.gateways.http import Limits
from payments.gateways.toss import TossGateway
from shop.contracts.payments import ADAPTERS
from tests.providers.accounts import clicked

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


def test_what_the_page_configures_takes_money_at_the_stand_in(tmp_path):
    secret = tmp_path / "toss-secret-key"
    secret.write_text(f"{SECRET_KEY}\n")
    done = shell("manage.py", "check", "--deploy", **configured(secret))
    assert "shop.E003" not in done.stderr
    assert "(shop.W003) The payment gateway TOSS has a key for tests." in done.stderr
    with Toss() as toss:
        gateway = TossGateway("TOSS", {"secret_key": secret.read_text().strip(), "url": toss.url})
        request = Authorization(
            "order-1-k",
            "order-1-k",
            1,
            33_000,
            "KRW",
            "",
            capture=True,
            return_url=lambda: "http://127.0.0.1:9/return/signed",
        )
        (action,) = gateway.authorize([request])
        back = clicked(action.url, "pay")
        came = Return(request.key, request.payment, action.reference, 33_000, "KRW", capture=True, parameters=back)
        assert gateway.confirm([came]) == [Captured(action.reference)]
        gateway.provider.close()


def test_the_page_says_what_is_so():
    page = PAGE.read_text()
    for name, default in Limits()._asdict().items():
        if name != "probing":
            assert f"| `GATEWAY_TOSS_{name.upper()}` | `{default:g}` |" in page
    for name, adapter in ADAPTERS.items():
        if adapter.wants and name != "toss":
            wants = ", ".join(f"`{option.upper()}`" for option in adapter.wants)
            assert f"| `{name}` | {wants} |" in page

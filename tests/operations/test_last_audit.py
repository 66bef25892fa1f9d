"""The last audit's result, where Prometheus sees it."""

import time
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command

from shop.operations import last_audit

pytestmark = pytest.mark.django_db(databases=list(settings.SERVICES))


def test_the_last_audit_is_a_metric(client: Any):
    caches["default"].delete(last_audit.KEY)
    assert scraped(client) == {"shop_audit_timestamp_seconds": 0, "shop_audit_violations": 0}

    last_audit.keep(3)
    assert scraped(client)["shop_audit_violations"] == 3
    call_command("audit", stdout=StringIO())
    found = scraped(client)
    assert (found["shop_audit_violations"], found["shop_audit_timestamp_seconds"]) == (
        0,
        pytest.approx(time.time(), abs=60),
    )


def test_without_the_cache_an_audit_is_an_audit_all_the_same(client: Any, monkeypatch: pytest.MonkeyPatch):
    class Away:
        def __getitem__(self, name: str) -> None:
            raise ConnectionError

    monkeypatch.setattr(last_audit, "caches", Away())
    call_command("audit", stdout=StringIO())
    assert scraped(client) == {}


def scraped(client: Any) -> dict[str, float]:
    lines = client.get("/metrics").content.decode().splitlines()
    return {name: float(value) for name, value in (line.split(" ") for line in lines if line.startswith("shop_audit"))}

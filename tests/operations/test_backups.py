"""What pgBackRest says of its backups, as a metric: `manage.py backups`."""

import json
import time
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.management import CommandError, call_command

from shop.operations import backups

pytestmark = pytest.mark.django_db(databases=list(settings.SERVICES))


def stanza(name: str, *ages: float, code: int = 0, error: bool = False) -> dict[str, Any]:
    """As `pgbackrest info --output=json` has it (2.45), of backups that ended so many hours ago."""
    return {
        "name": name,
        "backup": [{"timestamp": {"stop": int(time.time() - 3600 * age)}, "error": error} for age in ages],
        "status": {"code": code, "message": "ok" if code == 0 else "missing stanza path"},
    }


def told(monkeypatch: pytest.MonkeyPatch, *stanzas: dict[str, Any] | str) -> str:
    monkeypatch.setattr("sys.stdin", StringIO(json.dumps(stanzas)))
    out = StringIO()
    call_command("backups", stdout=out)
    return out.getvalue()


def scraped(client: Any) -> dict[str, float]:
    lines = client.get("/metrics").content.decode().splitlines()
    return {
        name.partition('"')[2].partition('"')[0]: float(value)
        for name, value in (line.split(" ") for line in lines if line.startswith("shop_backup"))
    }


def test_the_newest_backup_of_each_server_is_a_metric(client: Any, monkeypatch: pytest.MonkeyPatch):
    caches["default"].delete(backups.KEY)
    assert scraped(client) == {"none": 0}

    said = told(monkeypatch, stanza("orders", 30, 2), stanza("payments", 25))

    assert [line.split()[0] for line in said.splitlines() if line.endswith("fine")] == ["orders", "payments"]
    now = time.time()
    assert scraped(client) == {
        "orders": pytest.approx(now - 2 * 3600, abs=60),
        "payments": pytest.approx(now - 25 * 3600, abs=60),
    }


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (stanza("orders", 27), "too old"),
        (stanza("orders"), "no backup"),
        (stanza("orders", 1, error=True), "no backup"),
        (stanza("orders", 1, code=1), "missing stanza path"),
    ],
)
def test_what_is_wrong_with_a_backup_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Any, bad: Any, said: str):
    monkeypatch.setattr("sys.stdin", StringIO(json.dumps([stanza("payments", 1), bad])))
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("backups", stdout=out)
    assert out.getvalue().splitlines()[1].endswith(said)


def test_what_pgbackrest_did_not_write_is_refused(monkeypatch: pytest.MonkeyPatch, client: Any):
    caches["default"].set(backups.KEY, {"orders": 5.0})
    monkeypatch.setattr("sys.stdin", StringIO("no stanza exists"))
    with pytest.raises(CommandError, match="not what pgbackrest info"):
        call_command("backups")
    assert scraped(client) == {"orders": 5.0}


def test_without_the_cache_it_is_said_that_prometheus_learns_nothing(monkeypatch: pytest.MonkeyPatch):
    class Away:
        def __getitem__(self, name: str) -> None:
            raise ConnectionError

    monkeypatch.setattr(backups, "caches", Away())
    with pytest.raises(CommandError, match="The cache is away"):
        told(monkeypatch, stanza("orders", 1))

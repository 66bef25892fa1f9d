"""The budget of PostgreSQL's connections: what the processes may come to hold fits into what the server gives."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import call_command
from honcho.environ import parse_procfile

from shop.observability.metrics import Metric
from shop.operations import connections, doctor, gauges

DEFAULT = 100 - 3  # PostgreSQL's max_connections, without those that are kept for its superuser
EVERY = pytest.mark.django_db(databases=list(configured.SERVICES))
PROCFILE = Path(configured.BASE_DIR, "Procfile").read_text()


def total() -> int:
    return sum(connections.needed(service) for service in configured.LOCAL_SERVICES)


def test_all_of_procfile_fits_into_a_postgresql_as_it_is_installed():
    """Web: 2 × 4 threads, 7 databases. Six workers, which read six databases of others; six relays; seven to watch."""
    assert total() == 2 * 4 * 7 + 6 + 6 + 6 + 7 <= DEFAULT


def test_the_budget_counts_what_procfile_starts(settings: Any):
    commands = parse_procfile(PROCFILE).processes
    workers, threads = re.findall(r"\$\{WEB_\w+:-(\d+)\}", commands["web"])
    assert (int(workers), int(threads)) == (settings.WEB_PROCESSES, settings.WEB_THREADS)
    pools = [command for command in commands.values() if " worker " in command]
    assert len(pools) == 6
    assert all("--concurrency 1 " in command for command in pools)


@EVERY
def test_doctor_and_metric_compare_the_budget_with_the_server(settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "query", lambda *_: [(DEFAULT, -1, 12)])
    found = {one.what: one for one in doctor.examine()}["connections"]
    assert (found.well, found.fix) == (True, "")
    assert found.detail.startswith(f"{total()} at the most, 12 now, of {DEFAULT} at ")

    settings.WEB_THREADS = 8
    found = {one.what: one for one in doctor.examine()}["connections"]
    assert (found.well, found.fix) == (False, connections.FIX)
    gauge: Metric = gauges._ask()["database_connections"]
    assert {one.labels["kind"]: one.value for one in gauge.samples} == {
        "needed": total(),
        "allowed": DEFAULT,
        "used": 12,
    }


@EVERY
@pytest.mark.parametrize(("limit", "allowed"), [(-1, DEFAULT), (40, 40), (400, DEFAULT)])
def test_a_roles_own_limit_counts(monkeypatch: pytest.MonkeyPatch, limit: int, allowed: int):
    monkeypatch.setattr(connections, "query", lambda *_: [(DEFAULT, limit, 0)])

    (budget,) = connections.budgets()

    assert budget.allowed == allowed


@EVERY
def test_the_server_is_asked_for_what_it_gives():
    (budget,) = connections.budgets()

    assert budget.needed == total()
    assert 0 < budget.used <= budget.allowed


@EVERY
def test_what_does_not_fit_is_said_when_the_databases_are_made(settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "query", lambda *_: [(DEFAULT, -1, 0)])
    assert connections.shortages() == []

    settings.WEB_PROCESSES = 4
    said = StringIO()
    call_command("migrate_all", check=True, stdout=StringIO(), stderr=said)
    assert f"allows {DEFAULT} connections, and up to {total()} are needed" in said.getvalue()

"""`manage.py doctor`: what is right, what is not, and what cannot be seen."""

import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from django.db import OperationalError
from kombu import Connection

from sagas.topology import declare
from shop import __version__
from shop.operations import doctor

EVERY = pytest.mark.django_db(databases=list(configured.SERVICES))


def findings() -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine()}


@EVERY
def test_what_is_there_is_right():
    found = findings()
    for what in ("packages", "python", "mode", "port", "keys", "disk", "clock", "accounts", "orders", "notifications"):
        assert found[what].well is True, found[what]
        assert found[what].fix == ""
    assert found["orders"].detail.endswith("migrated")
    assert found["packages"].detail.startswith(f"shop {__version__}, django ")


@EVERY
def test_what_is_not_right_comes_with_its_fix_and_spoils_nothing_else(settings: Any, monkeypatch: pytest.MonkeyPatch):
    def query(database: str, *arguments: Any) -> Any:
        if database == "orders":
            raise OperationalError('connection failed: FATAL:  database "x" does not exist')
        return asked(database, *arguments)

    asked = doctor.query
    monkeypatch.setattr(doctor, "query", query)
    monkeypatch.setattr(doctor, "_is_migrated", lambda service: service != "delivery")
    monkeypatch.setattr(doctor.time, "time", lambda: 0.0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1000}))
    settings.BROKER_URL = "amqp://nobody:secret@127.0.0.1:1//"
    nowhere = Connection(settings.BROKER_URL, connect_timeout=1)
    monkeypatch.setattr(doctor.current_app, "connection_for_write", lambda **_: nowhere)
    settings.CACHES = settings.CACHES | {"locks": settings.CACHES["locks"] | {"LOCATION": "redis://127.0.0.1:1/1"}}
    settings.CACHES["locks"]["OPTIONS"] = {}
    found = findings()

    wrong = {what: finding for what, finding in found.items() if finding.well is False}
    assert {"orders", "delivery", "clock", "disk", "broker", "redis locks"} <= set(wrong)
    assert wrong["orders"].detail == 'database test_x: database "x" does not exist'.replace(
        "test_x", wrong["orders"].detail.split()[1].strip(":")
    )
    assert "manage.py migrate_all" in wrong["orders"].fix
    assert wrong["delivery"].fix == "manage.py migrate_all"
    assert all(finding.fix for finding in wrong.values())
    assert found["payments"].well is True
    assert "secret" not in str(found)


def test_a_queue_with_other_limits_than_ours_is_told_of():
    with doctor.current_app.connection_for_write() as connection:
        declare(connection)
        try:
            with connection.channel() as channel:
                channel.queue_delete("delivery")
                channel.queue_declare("delivery", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
            found = doctor._queue(connection, "delivery")
            others = doctor._queue(connection, "orders")
        finally:
            with connection.channel() as channel:
                channel.queue_delete("delivery")
            declare(connection)
    assert (found.well, "inequivalent arg 'x-" in found.detail) == (False, True)
    assert "delete it" in found.fix
    assert "inequivalent" not in others.detail


def test_embedded_it_says_what_it_cannot_see(settings: Any, tmp_path: Path):
    settings.EMBEDDED, settings.BROKER_URL, settings.VAR_DIR = True, "memory://", tmp_path
    found = findings()
    assert (found["databases"].well, found["broker"].well) == (None, None)
    assert found["databases"].detail == "embedded: make up makes them"
    assert "clock" not in found


@EVERY
def test_embedded_databases_that_were_made_are_looked_at(settings: Any, tmp_path: Path):
    settings.EMBEDDED, settings.BROKER_URL, settings.VAR_DIR = True, "memory://", tmp_path
    (tmp_path / "postgres").mkdir()
    found = findings()
    assert "databases" not in found
    assert {found[service].well for service in configured.SERVICES} == {True}
    assert found["orders"].detail.endswith("migrated")


def test_a_look_that_dies_is_a_finding(settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.EMBEDDED = True

    def dies(_place: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(shutil, "disk_usage", dies)
    assert findings()["disk"] == ("disk", False, "RuntimeError: no such thing", "")


def test_the_command_prints_a_line_each_and_exits_by_what_it_found(monkeypatch: pytest.MonkeyPatch):
    lines = [doctor.Finding("a", True, "fine"), doctor.Finding("b", None, "unseen")]
    monkeypatch.setattr("commands.management.commands.doctor.examine", lambda: lines)
    said = StringIO()
    call_command("doctor", stdout=said)
    assert said.getvalue().splitlines() == ["✓ a              fine", "– b              unseen"]

    lines.append(doctor.Finding("c", False, "[gone]", "bring it back"))
    with pytest.raises(CommandError, match="1 of these is not right") as refused:
        call_command("doctor", stdout=said)
    assert refused.value.returncode == 1
    assert said.getvalue().splitlines()[-1] == "✗ c              [gone]  → bring it back"

"""What a database's URL says after its host and its name: options, and more hosts than one."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.utils import ConnectionHandler

from lab.rig.servers import Postgres, free_ports
from shop import settings as module


def configured(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> dict[str, Any]:
    """The settings of the orders database, with this variable."""
    monkeypatch.setenv("ORDERS_DATABASE_URL", "")
    monkeypatch.setenv(name, url)
    monkeypatch.setattr(module, "EMBEDDED", False)
    return module._database("orders")


@pytest.mark.parametrize("name", ["ORDERS_DATABASE_URL", "DATABASE_URL"])
def test_a_url_keeps_its_options_and_hosts(monkeypatch: pytest.MonkeyPatch, name: str):
    plain = configured(monkeypatch, name, "postgres://shop:secret@one:5432/orders")["OPTIONS"]
    url = "postgres://shop:secret@one:5432,two:5433/orders?sslmode=verify-full&sslrootcert=/ca.crt"
    config = configured(monkeypatch, name, f"{url}&target_session_attrs=read-write&connect_timeout=9")

    assert (config["HOST"], config["PORT"]) == ("one,two", "5432,5433")
    assert config["OPTIONS"] == plain | {
        "sslmode": "verify-full",
        "sslrootcert": "/ca.crt",
        "target_session_attrs": "read-write",
        "connect_timeout": 9,
    }


def test_a_urls_settings_of_the_session_come_after_ours(monkeypatch: pytest.MonkeyPatch):
    url = "postgres://shop@one/orders?options=-c%20lock_timeout%3D2s"
    options = configured(monkeypatch, "ORDERS_DATABASE_URL", url)["OPTIONS"]["options"]

    assert options.startswith("-c statement_timeout=30s -c lock_timeout=10s ")
    assert options.endswith(" -c lock_timeout=2s")


@pytest.mark.django_db(databases=["orders"])
def test_the_server_notices_soon_that_a_client_is_gone_which_may_hold_locks():
    with connections["orders"].cursor() as cursor:
        cursor.execute("SELECT inet_server_addr()")
        assert cursor.fetchone()[0], "This is about connections by TCP."
        cursor.execute("SHOW tcp_user_timeout")
        assert cursor.fetchone() == ("10000",)  # milliseconds
        cursor.execute("SHOW tcp_keepalives_idle")
        assert cursor.fetchone() == ("5",)


@pytest.fixture
def port_of_nobody() -> Iterator[int]:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.django_db(databases=["orders"])
def test_the_second_host_is_asked_when_the_first_does_not_answer(monkeypatch: pytest.MonkeyPatch, port_of_nobody: int):
    known = connections["orders"].settings_dict
    who = f"{known['USER']}:{known['PASSWORD']}"
    hosts = f"127.0.0.1:{port_of_nobody},{known['HOST'] or '127.0.0.1'}:{known['PORT'] or 5432}"
    url = f"postgres://{who}@{hosts}/{known['NAME']}?target_session_attrs=read-write&application_name=second"
    connection = ConnectionHandler({"default": {}, "orders": configured(monkeypatch, "ORDERS_DATABASE_URL", url)})[
        "orders"
    ]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('application_name'), current_setting('lock_timeout')")
            assert cursor.fetchone() == ("second", "10s")
    finally:
        connection.close()


@pytest.mark.django_db(databases=["orders"])
def test_nothing_is_read_from_a_standby(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """It may be the primary of a moment ago, with commits that are to be undone."""
    tmp_path_factory.getbasetemp().chmod(0o755)  # PostgreSQL runs with an account of its own
    home = tmp_path_factory.mktemp("standby")
    home.chmod(0o755)
    server = Postgres(home / "server", free_ports(1)[0])
    url = f"postgres://postgres@127.0.0.1:{server.port}/postgres"
    connection = ConnectionHandler({"default": {}, "orders": configured(monkeypatch, "ORDERS_DATABASE_URL", url)})[
        "orders"
    ]
    server.start()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
        (server.data / "standby.signal").touch()
        server.restart("fast")
        with pytest.raises(OperationalError, match="hot standby"):
            connection.ensure_connection()
    finally:
        connection.close()
        server.stop()

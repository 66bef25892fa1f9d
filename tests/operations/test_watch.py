"""Who may ask a web server for its state, and the port on which it answers while all its threads wait."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings as project
from django.test import Client

from shop.operations import watch
from tests.support.processes import Process, eventually

PATHS = ("/readyz", "/metrics")


@pytest.mark.parametrize(
    "request_of",
    [{"REMOTE_ADDR": "10.0.0.5"}, {"REMOTE_ADDR": ""}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, {"REMOTE_ADDR": "x"}],
    ids=["from elsewhere", "from a socket", "through a proxy", "from nowhere"],
)
@pytest.mark.parametrize("path", PATHS)
def test_others_find_nothing_there(path: str, request_of: dict[str, str]):
    answer = Client().get(path, **request_of)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (404, "C010")
    assert Client().get("/livez", **request_of).status_code == 200  # type: ignore[arg-type]


@pytest.mark.django_db(databases=list(project.SERVICES))
def test_the_owner_says_from_where(settings: Any):
    settings.WATCHED_FROM = ["10.0.0.0/8", "fd00::/8"]
    for path in PATHS:
        for address, status in (("10.9.9.9", 200), ("fd00::1", 200), ("127.0.0.1", 404)):
            assert Client().get(path, REMOTE_ADDR=address).status_code == status


def test_the_landing_page_names_them_to_nobody_else():
    for request_of, named in (({}, True), ({"HTTP_X_FORWARDED_FOR": "203.0.113.7"}, False)):
        page = Client().get("/", **request_of).content.decode()  # type: ignore[arg-type]
        assert ('href="/metrics"' in page, 'href="/readyz"' in page) == (named, named)


# --- The port of its own ----------------------------------------------------------------------------------------------
@pytest.fixture
def ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


@pytest.mark.django_db(databases=list(project.SERVICES))
def test_what_the_port_answers(settings: Any, ports: list[int]):
    settings.METRICS_PORT = ports[0]
    server = watch.serve()
    assert server
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}") as ask:
            assert ask.get("/livez").json() == {"status": "alive"}
            assert "shop_lock_unavailable_total" in ask.get("/metrics").text
            assert ask.post("/livez").status_code == 405
            assert ask.get("/api/v1/products").status_code == 404
            head = ask.head("/livez")
            assert (head.status_code, head.content) == (200, b"")
    finally:
        server.shutdown()
        server.server_close()


def test_without_a_port_there_is_none_and_one_that_is_taken_is_no_reason_to_end(settings: Any, ports: list[int]):
    settings.METRICS_PORT = 0
    assert watch.serve() is None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings.METRICS_PORT = taken.getsockname()[1]
        assert watch.serve() is None


@pytest.fixture
def server(ports: list[int], tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The web server of docker-compose.yml, but with one thread."""
    port, own = ports
    command = f"granian --interface wsgi --host 127.0.0.1 --port {port} --workers 1 --blocking-threads 1"
    directory = str(tmp_path / "metrics")  # not there yet
    environment = os.environ | {"METRICS_PORT": str(own), "DEBUG": "1", "PROMETHEUS_MULTIPROC_DIR": directory}
    process = Process("web", [*command.split(), "shop.wsgi:application"], environment, tmp_path / "log")
    try:
        yield port, own
    finally:
        process.kill()


@pytest.mark.integration
def test_health_answers_while_the_only_thread_waits_for_a_body(server: tuple[int, int]):
    port, own = server

    def answers(which: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{which}/livez", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    eventually(lambda: answers(port) and answers(own))
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST /api/v1/auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        eventually(lambda: not answers(port))
        assert answers(own)

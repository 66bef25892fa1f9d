"""A POST to an address of somebody else's choosing: where it goes, how long it takes, what it reads."""

import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from notifications.webhooks import transport
from notifications.webhooks.transport import Answer, Subscriber, is_allowed

PUBLIC = "93.184.215.14"


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server
        server.shutdown(socket.SHUT_RDWR)  # wakes up who accepts


def served(server: socket.socket, talk: Callable[[socket.socket], None]) -> None:
    """Have `talk` answer each connection, in threads of their own."""

    def answer(connection: socket.socket) -> None:
        with connection:
            talk(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def post(url: str) -> Answer:
    with Subscriber(url) as subscriber:
        return subscriber.post(b"{}", {"Webhook-Id": "1"})


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (PUBLIC, True), ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True), ("::ffff:93.184.215.14", True),
        ("64:ff9b::5db8:d70e", True),
        ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("0.0.0.0", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("::1", False), ("::", False), ("fe80::1", False), ("fd00::1", False), ("ff02::1", False),
        ("::ffff:127.0.0.1", False), ("::127.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
        ("fec0::1", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
    ],
)  # fmt: skip
def test_public_addresses_only(address: str, allowed: bool, settings: Any):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    assert is_allowed(ip_address(address)) is allowed
    assert not is_allowed(ip_address(address), plain=True)


@pytest.mark.parametrize("answers", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["fe80::1%eth0"], ["::ffff:10.0.0.1"]])
def test_a_name_that_leads_inside_is_not_called(answers: list[str], settings: Any, monkeypatch: Any):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    connected: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda *to, **_: connected.append(to))
    _resolving(monkeypatch, answers)
    assert post("https://innocent.example.com/hook")[2] == "Forbidden: innocent.example.com is not a public address"
    assert connected == []


def test_a_name_that_leads_elsewhere_a_moment_later_gains_nothing(settings: Any, monkeypatch: Any):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    connected: list[Any] = []

    def connect(to: Any, *_: Any, **__: Any) -> socket.socket:
        connected.append(to)
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(socket, "create_connection", connect)
    asked = _resolving(monkeypatch, [PUBLIC], ["127.0.0.1"])
    assert post("https://rebinding.example.com/hook")[2] == "ConnectError: nobody listens"
    assert (asked, connected) == (["rebinding.example.com"], [(PUBLIC, 443)])  # asked once, and never by its name


def test_a_redirect_is_an_answer_and_is_not_followed(settings: Any, listening: socket.socket):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    requests: list[bytes] = []

    def redirect(connection: socket.socket) -> None:
        requests.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")

    served(listening, redirect)
    assert post(_url(listening))[0] == 307
    assert len(requests) == 1


def test_an_answer_without_end_is_hung_up_on(settings: Any, listening: socket.socket):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    hung_up = threading.Event()

    def flood(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            hung_up.set()

    served(listening, flood)
    answer = post(_url(listening))
    assert (answer.status, answer.error) == (200, "")
    assert hung_up.wait(40)


@pytest.mark.parametrize(
    ("drip", "status"),
    [(b"HTTP/1.1 200 OK\r\nX: ", 0), (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", 200), (b"", 0)],
)
def test_one_byte_after_the_other_is_no_way_to_keep_the_line(
    drip: bytes, status: int, settings: Any, listening: socket.socket, monkeypatch: Any
):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setattr(transport, "TIMEOUT", 0.5)
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        try:
            connection.sendall(drip)
            while not ended.wait(0.05):
                connection.sendall(b"x")
        except OSError:
            ended.set()

    served(listening, talk)
    answer = post(_url(listening))
    assert answer.status == status
    assert answer.error.partition(":")[0] == ("" if status else "ReadTimeout")
    assert ended.wait(40)


def test_what_is_no_http_is_an_error_and_a_connection_is_used_again(settings: Any, listening: socket.socket):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    connections: list[int] = []

    def talk(connection: socket.socket) -> None:
        connections.append(1)
        sent = b""
        while portion := connection.recv(4096):
            sent += portion
            if sent.endswith(b"{}"):
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            if sent.endswith(b"garbage"):
                connection.sendall(b"garbage\r\n\r\n")
                return

    served(listening, talk)
    with Subscriber(_url(listening)) as subscriber:
        statuses = [subscriber.post(b"{}", {"Webhook-Id": str(number)}).status for number in range(3)]
        broken = subscriber.post(b"garbage", {})
    assert (statuses, len(connections)) == ([204] * 3, 1)
    assert (broken.status, broken.error.partition(":")[0]) == (0, "RemoteProtocolError")


def _url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/hook"


def _resolving(monkeypatch: Any, *answers: list[str]) -> list[str]:
    """Have names lead to these addresses, one list after the other; the names that were asked for."""
    asked: list[str] = []
    left = list(answers)

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(None, None, None, "", (address, port)) for address in (left.pop(0) if len(left) > 1 else left[0])]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked

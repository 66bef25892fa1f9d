"""A POST to an address of somebody else's choosing: public addresses only, within a time, and little of the answer.

A name is resolved once, every address that it has is checked, and one of those is connected to: a name that resolves to
another address a moment later gains nothing by it. Redirects are not followed, proxies of the environment not used.
`WEBHOOK_ALLOWED_NETWORKS` names networks that are allowed although they are private, where plain HTTP will do as well.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpcore
from django.conf import settings

TIMEOUT = 10.0  # seconds for a message: the connection, the handshake and the answer together
LARGEST = 65_536  # bytes of an answer that are read, for the sake of the connection; nothing of them is kept
WELL_KNOWN = {80, 443}  # the only ports below 1024 that are called: no mail server is to be spoken to
NAT64 = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class Forbidden(Exception):
    """The address is not public."""


class Answer(NamedTuple):
    """What came back. `status` is 0 and `error` says why where no answer came; `wait` is Retry-After, in seconds."""

    status: int
    seconds: float
    error: str = ""
    wait: float = 0.0


class Subscriber:
    """One connection to a subscriber, opened for the first message and closed with the block."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._network = _Checked(plain=urlsplit(url).scheme == "http")
        self._pool = httpcore.ConnectionPool(
            ssl_context=_trust(), max_connections=1, network_backend=self._network, retries=0
        )

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one message. Raises nothing: whatever goes wrong is an answer."""
        began = time.monotonic()
        self._network.ends_at = began + TIMEOUT
        status, wait, error = 0, 0.0, ""
        sent = {"Host": urlsplit(self._url).netloc, "Content-Type": "application/json", "User-Agent": "shop", **headers}
        timeouts = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT)}
        try:
            with self._pool.stream(
                "POST", self._url, headers=list(sent.items()), content=body, extensions=timeouts
            ) as response:
                status, wait = response.status, _seconds(response.headers)
                with suppress(httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
                    _read_on(response)
        except Exception as trouble:  # of the network, of the name, or of what the other side has sent
            error = f"{type(trouble).__name__}: {trouble}".rstrip(": ")[:200]
        return Answer(status, time.monotonic() - began, error, wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()


def refusal(url: str) -> str:
    """What is wrong with a subscriber's URL as it is written; "" if nothing is. Its name is not looked up."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "This is no address."
    allowed = bool(settings.WEBHOOK_ALLOWED_NETWORKS)
    if parts.scheme != "https" and not (allowed and parts.scheme == "http"):
        return "Give an https:// address."
    if not url.isascii():  # HTTP has no other characters in an address
        return "Write it in ASCII: a domain as xn--…, other characters percent-encoded."
    if "@" in parts.netloc or parts.fragment:
        return "Neither a user nor a fragment belongs into it."
    if port is not None and port < 1024 and port not in WELL_KNOWN:
        return "Use port 443, or one from 1024."
    with suppress(ValueError):
        if not is_allowed(ip_address(host), plain=parts.scheme == "http"):
            return "This address is not public."
    return ""


def is_allowed(address: Address, *, plain: bool = False) -> bool:
    """Whether it may be connected to: a public address, or one of WEBHOOK_ALLOWED_NETWORKS; `plain` HTTP only there."""
    address = _embedded(address)
    if any(address in network for network in _networks(tuple(settings.WEBHOOK_ALLOWED_NETWORKS))):
        return True
    if isinstance(address, IPv6Address) and address.is_site_local:  # a network's own, though `is_global` says otherwise
        return False
    return not plain and address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> Address:
    """The IPv4 address within an IPv6 address that leads to one."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


@cache
def _networks(written: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(ip_network(one) for one in written)


@cache
def _trust() -> ssl.SSLContext:
    return httpcore.default_ssl_context()


def _seconds(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Of Retry-After, if it is a number."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 9:
            return float(value)
    return 0.0


def _read_on(response: httpcore.Response) -> None:
    """Read the rest, so that the connection can be used again; one who sends too much is hung up on."""
    size = 0
    for portion in response.iter_stream():
        size += len(portion)
        if size > LARGEST:
            return


class _Checked(httpcore.NetworkBackend):
    """Connects to what was checked. Nothing goes on beyond `ends_at`, by the monotonic clock."""

    def __init__(self, *, plain: bool) -> None:
        self._network = httpcore.SyncBackend()
        self._plain = plain
        self.ends_at = 0.0

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        last: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                opened = self._network.connect_tcp(address, port, self.left(timeout), None, socket_options)
                return _Bounded(opened, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    def _addresses(self, host: str, port: int) -> list[str]:
        """Those of a name, if all of them may be connected to."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses:
            if not is_allowed(ip_address(address.partition("%")[0]), plain=self._plain):
                raise Forbidden(f"{host} is not a public address")
        return addresses

    def left(self, timeout: float | None) -> float:
        """The seconds that one operation may take."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("it took too long")
        return min(left, timeout or TIMEOUT)


class _Bounded(httpcore.NetworkStream):
    """A connection on which no operation outlasts its message's time: one byte every second is no way to keep it."""

    def __init__(self, stream: httpcore.NetworkStream, network: _Checked) -> None:
        self._stream, self._network = stream, network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.left(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._network.left(timeout))
        return _Bounded(secured, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()

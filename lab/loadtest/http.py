"""HTTP/1.1 for a load test, with as little CPU time per request as possible.

An `httpx` request takes ten times as much CPU time (2.2 ms instead of 0.2), which on a single machine is taken from the
shop.
"""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec

TIMEOUT = 10.0  # seconds for an answer
CONNECTIONS = 90  # at once, per server: the embedded one accepts a hundred. Further requests wait in the client
CHUNK = 65_536


class NoAnswer(Exception):
    """A request that was not answered; the message says why."""


@dataclass
class Answer:
    """A response. `body` is its JSON, or its text if it is not JSON."""

    status: int
    body: Any

    @property
    def said(self) -> str:
        """The status, with a problem's code."""
        code = self.body.get("code") if isinstance(self.body, dict) and self.status >= 400 else None
        return f"{self.status} {code}" if code else f"{self.status}"


class _Connection:
    """A connection, which carries one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(our_role=h11.CLIENT)

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: the server has kept it open."""
        return self._http.our_state is h11.IDLE and not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(self, request: h11.Request, body: bytes) -> tuple[int, bytes]:
        """Raises OSError, h11.RemoteProtocolError."""
        http = self._http
        events = (request, h11.Data(body), h11.EndOfMessage()) if body else (request, h11.EndOfMessage())
        self._writer.write(b"".join(filter(None, map(http.send, events))))
        status, parts = 0, []
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(CHUNK)
                if not data and not status:
                    raise ConnectionResetError
                http.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
        return status, b"".join(parts)

    def close(self) -> None:
        self._writer.close()

    async def closed(self) -> None:
        """Close the connection, and wait until it is closed."""
        self.close()
        with suppress(OSError, TimeoutError):  # the server may be gone
            async with asyncio.timeout(1):
                await self._writer.wait_closed()


class Server:
    """One server. Connections are opened on demand up to a limit, kept open, and reused."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self._host, self._tls = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._base = f"{parts.path.rstrip('/')}/api/v1"
        self._free: list[_Connection] = []
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._common = [
            ("Host", parts.netloc.rpartition("@")[2]),
            ("Accept", "application/json"),
            ("User-Agent", "shop-loadtest"),
        ]

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", timeout: float = TIMEOUT,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:  # fmt: skip
        """Send a request below `/api/v1`; return the response. Raises NoAnswer.

        It is not retried if there is no response: the shop may have handled it.
        """
        content = msgspec.json.encode(body) if body is not None else b""
        head = [*self._common, *headers]
        if token:
            head.append(("Authorization", f"Bearer {token}"))
        if content:
            head += [("Content-Type", "application/json"), ("Content-Length", f"{len(content)}")]
        elif method == "POST":
            head.append(("Content-Length", "0"))
        request = h11.Request(method=method, target=f"{self._base}{path}", headers=head)
        try:
            async with asyncio.timeout(timeout), self._places:
                status, text = await self._exchange(request, content)
        except TimeoutError:
            raise NoAnswer(f"no answer in {timeout:g} s") from None
        except ConnectionRefusedError:
            raise NoAnswer("connection refused") from None
        except ConnectionError:
            raise NoAnswer("connection closed") from None
        except OSError as error:
            raise NoAnswer(error.strerror or type(error).__name__) from error
        except h11.RemoteProtocolError as error:
            raise NoAnswer("an answer that is not HTTP") from error
        try:
            return Answer(status, msgspec.json.decode(text) if text else None)
        except msgspec.DecodeError:
            return Answer(status, text.decode(errors="replace"))

    async def _exchange(self, request: h11.Request, body: bytes) -> tuple[int, bytes]:
        connection = await self._connect()
        try:
            answer = await connection.ask(request, body)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._free.append(connection)
        else:
            connection.close()
        return answer

    async def _connect(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                return connection
            connection.close()
        return await self._connected()

    async def _connected(self) -> _Connection:
        context = ssl.create_default_context() if self._tls else None
        return _Connection(*await asyncio.open_connection(self._host, self._port, ssl=context))

    async def open(self, count: int) -> None:
        """Open connections in advance, at most CONNECTIONS."""
        missing = min(count, CONNECTIONS) - len(self._free)
        with suppress(OSError):  # a request that needs one will report it
            self._free += await asyncio.gather(*(self._connected() for _ in range(missing)))

    async def close(self) -> None:
        """Close all connections, none of which may be in use."""
        await asyncio.gather(*(connection.closed() for connection in self._free))
        self._free.clear()

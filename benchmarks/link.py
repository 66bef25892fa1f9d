"""The link between a node and the servers, which delays everything that one end sends to the other.

    python -m benchmarks.link NAMESPACE PORT…

It listens on these ports of a network namespace's loopback interface, and connects to the same ports of ours: within
the namespace the servers have their usual addresses, and nothing else can be reached. Each line of standard input sets
the one-way delay in seconds, and is answered with `true` once connections are accepted.

It delays the bytes of a connection, not packets as `tc netem` does, which many kernels lack: opening a connection costs
one round trip, and there is no congestion window that has to grow first.
"""

import asyncio
import ctypes
import os
import selectors
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HOST = "127.0.0.1"
CLONE_NEWNET = 0x40000000


@contextmanager
def within(namespace: str) -> Iterator[None]:
    """Create sockets in a network namespace: those that this thread creates within the block belong to it for good."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        theirs = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            yield
        finally:
            _enter(ours)
    finally:
        os.close(ours)


def _enter(namespace: int) -> None:
    """Call `setns(2)`, which Python has since 3.12. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Link:
    """All connections of one node."""

    def __init__(self) -> None:
        self.delay = 0.0  # seconds, one way

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Forward traffic until standard input ends."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            port = listener.getsockname()[1]
            await loop.create_server(lambda port=port: Near(self, port), sock=listener)
        ended = asyncio.Event()

        def told() -> None:
            if line := sys.stdin.readline():
                self.delay = float(line)
                print("true", flush=True)
            else:
                ended.set()

        loop.add_reader(sys.stdin, told)
        await ended.wait()


class End(asyncio.Protocol):
    """One end of a connection."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.other: End
        self.transport: asyncio.Transport
        self._under_way: deque[bytes] = deque()  # to the other end, oldest first; an empty item closes it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._under_way.append(data)
        asyncio.get_running_loop().call_later(self.link.delay, self._arrive)

    def connection_lost(self, _: Exception | None) -> None:
        if hasattr(self, "other"):
            self.data_received(b"")

    def _arrive(self) -> None:
        if data := self._under_way.popleft():
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class Near(End):
    """The node's end. Its data is read once the connection to the server is open, a round trip later."""

    def __init__(self, link: Link, port: int) -> None:
        super().__init__(link)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._calling = asyncio.create_task(self._call())

    async def _call(self) -> None:
        await asyncio.sleep(2 * self.link.delay)
        far = End(self.link)
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, HOST, self._port)
        except OSError:
            self.transport.abort()
            return
        self.other, far.other = far, self
        self.transport.resume_reading()


def main(namespace: str, *ports: str) -> None:
    with within(namespace):
        listeners = [socket.create_server((HOST, int(port)), backlog=512) for port in ports]
    # The other selectors round timeouts up to milliseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(Link().run(listeners))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A TCP proxy in front of the broker, for what happens to connections: cut, or gone silent."""

import contextlib
import selectors
import socket
import threading
from typing import Self

CHUNK = 65536


class Proxy:
    """Passes bytes on between its own port and a server, until told to do worse."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._lock = threading.Lock()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._silent = False
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()
        self._listener.close()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._peers) // 2

    def cut(self) -> int:
        """Break every connection there is; how many that was. New ones are welcome."""
        with self._lock:
            count = self.connections
            for end in self._peers:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        return count

    def fall_silent(self) -> None:
        """From now on nothing that is sent arrives, and nobody is told."""
        self._silent = True

    def speak_again(self) -> None:
        """Pass on what has waited, and all that comes."""
        self._silent = False

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select(0.05):
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    if end is self._listener:
                        self._welcome(selector)
                    elif not self._silent:
                        self._pass_on(selector, end)
                if self._silent:
                    threading.Event().wait(0.01)  # what is readable stays so: do not spin
            for end in list(self._peers):
                self._close(selector, end)

    def _welcome(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        for end, other in ((client, server), (server, client)):
            end.settimeout(5)
            with self._lock:
                self._peers[end] = other
            selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, end: socket.socket) -> None:
        other = self._peers.get(end)
        if other is None:
            return  # closed a moment ago, together with its peer
        try:
            if data := end.recv(CHUNK):
                other.sendall(data)
                return
        except OSError:
            pass
        self._close(selector, end)
        self._close(selector, other)

    def _close(self, selector: selectors.BaseSelector, end: socket.socket) -> None:
        with self._lock:
            if self._peers.pop(end, None) is None:
                return
        selector.unregister(end)
        end.close()

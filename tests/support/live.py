"""The internal addresses behind a real socket, answered by threads of this process on the test's own connections."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadedWSGIServer):
    """Leaves the connections open, for they are the test's."""

    def _close_connections(self) -> None:
        pass


@contextmanager
def serving(databases: list[str]) -> Iterator[str]:
    """A server on a port of its own; yields its URL. Who asks waits, so a connection has one user at a time."""
    shared: Mapping[str, Any] = {alias: connections[alias] for alias in databases}
    for connection in shared.values():
        connection.inc_thread_sharing()
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    server = _Server(("127.0.0.1", 0), _QuietHandler, connections_override=shared)
    server.set_app(WSGIHandler())
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)
        for connection in shared.values():
            connection.dec_thread_sharing()

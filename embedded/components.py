"""The parts of the embedded mode, each on threads of its own: worker, relays, timers, web server."""

import logging
import socket
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, ClassVar

from celery.beat import Scheduler, Service
from celery.worker import WorkController, state
from django.core.wsgi import get_wsgi_application
from kombu.transport.memory import Channel
from waitress import wasyncore
from waitress.server import create_server

from sagas.registry import local_services
from sagas.relay import Relay
from sagas.topology import declare, queues
from shop.celery import app

logger = logging.getLogger(__name__)

WORKER_THREADS = 4
WEB_THREADS = 8
HOST = "127.0.0.1"


class Patience:
    """A deadline, which `lose` shortens to half a second from now."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def lose(self) -> None:
        self._until = min(self._until, time.monotonic() + 0.5)

    @property
    def left(self) -> bool:
        return time.monotonic() < self._until

    def for_(self, condition: Callable[[], Any]) -> bool:
        """Wait for a condition; return whether it came true in time."""
        while not condition():
            if not self.left:
                return False
            time.sleep(0.02)
        return True


class Component:
    """A part of the shop that runs on threads of its own. A thread logs the exception which ends it."""

    title: ClassVar[str]

    def __init__(self, *works: Callable[[], Any]) -> None:
        self._threads = [Thread(target=_logged, args=(work,), name=self.title, daemon=True) for work in works]

    def start(self) -> None:
        """Start, and return once it is ready."""
        for thread in self._threads:
            thread.start()

    def stop(self, patience: Patience) -> bool:
        """Finish the work at hand and stop; return whether that was possible in time."""
        return patience.for_(lambda: not any(thread.is_alive() for thread in self._threads))

    @property
    def alive(self) -> bool:
        """False once one of its threads has ended."""
        return all(thread.is_alive() for thread in self._threads)


def _logged(work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception:
        logger.exception("A thread of the embedded mode died")
        raise


class Worker(Component):
    """A Celery worker on all queues of the in-memory broker."""

    title = "worker"

    def __init__(self) -> None:
        self._ready = Event()
        self._controller = WorkController(
            app=app,
            hostname="worker@embedded",
            pool="threads",
            concurrency=WORKER_THREADS,
            without_heartbeat=True,
            ready_callback=lambda _consumer: self._ready.set(),
        )
        super().__init__(self._controller.start)

    def start(self) -> None:
        with app.connection_for_write() as connection:
            declare(connection)
        super().start()
        while not self._ready.wait(0.1):
            if not self.alive:
                raise RuntimeError("The worker did not start; the log says why.")

    def stop(self, patience: Patience) -> bool:
        """Drain the queues first, as messages left in them are lost with this process."""
        patience.for_(lambda: idle() or not self.alive)
        app.control.shutdown(destination=[self._controller.hostname])
        return super().stop(patience) and idle()


def idle() -> bool:
    """Whether no message is in the in-memory queues or with the worker."""
    waiting = sum(Channel.queues[queue.name].qsize() for queue in queues() if queue.name in Channel.queues)
    return not waiting and not state.reserved_requests


class Relays(Component):
    """One relay per service with an outbox."""

    title = "relay"

    def __init__(self) -> None:
        self._relays = [Relay(service) for service in local_services()]
        super().__init__(*(relay.run for relay in self._relays))

    def stop(self, patience: Patience) -> bool:
        for relay in self._relays:
            relay.stop()
        return super().stop(patience)


class Timers(Component):
    """Celery's beat with its schedule in memory: due times are in the databases."""

    title = "timers"

    def __init__(self) -> None:
        self._beat = Service(app, scheduler_cls=Scheduler)
        super().__init__(self._beat.start)

    def stop(self, patience: Patience) -> bool:
        self._beat.stop()
        return super().stop(patience)


class PortTaken(Exception):
    """The port cannot be used; the message names it."""


class Web(Component):
    """The web server. It binds its port when constructed, so that a port in use is found before anything is started."""

    title = "web"

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((HOST, port))
        except OSError as error:
            self._socket.close()
            raise PortTaken(
                f"Port {port} cannot be used: {error.strerror}. Choose another by the variable PORT, such as PORT=8081."
            ) from None
        self.port = self._socket.getsockname()[1]
        self._server: Any = None
        super().__init__(self._serve)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self._server = create_server(get_wsgi_application(), sockets=[self._socket], threads=WEB_THREADS, ident=None)
        super().start()

    def stop(self, patience: Patience) -> bool:
        """Stop accepting connections, finish requests in progress, close."""
        if self._server is None:
            self._socket.close()
            return True
        self._in_loop(lambda: wasyncore.dispatcher.close(self._server))
        answered = patience.for_(lambda: not self._is_busy())
        self._server.task_dispatcher.shutdown(timeout=0.2)
        self._in_loop(lambda: wasyncore.close_all(self._server._map))
        return answered

    def _is_busy(self) -> bool:
        """Whether a request is queued or in progress, or a response is not fully sent."""
        work = self._server.task_dispatcher
        channels = list(self._server.active_channels.values())
        return bool(work.queue) or work.active_count > 0 or any(channel.total_outbufs_len for channel in channels)

    def _serve(self) -> None:
        self._server.run()  # returns when its last socket is closed

    def _in_loop(self, action: Callable[[], Any]) -> None:
        """Run an action on the server's own thread, between two events."""
        done = Event()

        def act() -> None:
            try:
                action()
            finally:
                done.set()

        self._server.trigger.pull_trigger(act)
        done.wait(1)

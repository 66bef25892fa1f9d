"""Celery's worker: named in `worker_consumer`."""

from collections.abc import Callable
from typing import Any

from celery.signals import worker_shutting_down

from sagas import worker
from supervision import EVERY, alive, end_in_time, watch


class Consumer(worker.Consumer):
    """The kernel's consumer, ended if it hangs."""

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        watch()
        hub.call_repeatedly(EVERY, alive)

    def ensure_connected(self, conn: Any) -> Any:
        """Count as alive while waiting for a broker that is down."""
        ensure = conn.ensure_connection

        def alive_meanwhile(*args: Any, callback: Callable[[], None], **options: Any) -> Any:
            def come_round() -> None:
                alive()
                callback()

            return ensure(*args, callback=come_round, **options)

        conn.ensure_connection = alive_meanwhile
        return super().ensure_connected(conn)


def _shutting_down(**_kwargs: Any) -> None:
    end_in_time()


worker_shutting_down.connect(_shutting_down)

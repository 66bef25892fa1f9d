"""Celery's beat: named in `beat_scheduler`."""

import logging
from typing import Any

from celery.beat import PersistentScheduler

from supervision import alive, ticked, watch

logger = logging.getLogger(__name__)


class Scheduler(PersistentScheduler):  # type: ignore[misc]  # Celery carries no types
    """Celery's scheduler, ended if it hangs. It signals each tick that the broker has confirmed."""

    def setup_schedule(self) -> None:
        super().setup_schedule()
        watch()

    def tick(self, *args: Any, **options: Any) -> Any:
        alive()
        return super().tick(*args, **options)

    def apply_async(self, *args: Any, **options: Any) -> Any:
        sent = super().apply_async(*args, **options)
        ticked.send(Scheduler)
        return sent

    def _ensure_connected(self) -> Any:
        """Like Celery's, but beat counts as alive while it waits for a broker that is down."""

        def waits(error: Exception, seconds: float) -> None:
            logger.error("Beat has no broker: %s. It tries again in %s s", error, seconds)

        return self.connection.ensure_connection(waits, self.app.conf.broker_connection_max_retries, callback=alive)

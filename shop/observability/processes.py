"""Starts observability in workers and beat: beat and a worker's parent serve metrics, its children record spans."""

from typing import Any

from celery.signals import beat_init, worker_init, worker_process_init, worker_process_shutdown

from supervision import ticked


def _parent(**_kwargs: Any) -> None:
    from shop.observability import metrics  # imported late: settings must create PROMETHEUS_MULTIPROC_DIR first

    metrics.serve()


def _ticked(**_kwargs: Any) -> None:
    from shop.observability import metrics

    metrics.LAST_TICK.set_to_current_time()


def _child(**_kwargs: Any) -> None:
    from shop.observability import sdk

    sdk.start()


def _child_ends(**_kwargs: Any) -> None:
    from shop.observability import sdk

    sdk.flush()


worker_init.connect(_parent)
beat_init.connect(_parent)
ticked.connect(_ticked)
worker_process_init.connect(_child)
worker_process_shutdown.connect(_child_ends)

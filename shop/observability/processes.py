"""Where a worker begins to be watched: its parent answers for its metrics, each child records spans."""

from typing import Any

from celery.signals import worker_init, worker_process_init, worker_process_shutdown


@worker_init.connect
def _parent(**_kwargs: Any) -> None:
    from shop.observability import metrics  # not before the settings: they make its directory

    metrics.serve()


@worker_process_init.connect
def _child(**_kwargs: Any) -> None:
    from shop.observability import sdk

    sdk.start()


@worker_process_shutdown.connect
def _child_ends(**_kwargs: Any) -> None:
    from shop.observability import sdk

    sdk.flush()

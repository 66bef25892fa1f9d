"""The Celery application. Its settings are in `celeryconfig.py`, the choreography in `shop/saga.py`."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_after_setup, worker_before_create_process
from django.conf import settings

from shop.observability import processes  # noqa: F401 (connects itself to Celery's signals)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop", config_source="celeryconfig")
app.autodiscover_tasks()  # every service's tasks.py


def _only_its_own_queue(**_kwargs: Any) -> None:
    """Let a worker of a single service consume its own queue only, whatever queues its command line names."""
    if settings.ALONE:
        app.amqp.queues.select(settings.LOCAL_SERVICES)


def _share_what_is_imported(**_kwargs: Any) -> None:
    """Freeze all existing objects before a child is forked. The garbage collector then never touches them, so the child
    keeps sharing its parent's memory."""
    gc.collect()
    gc.freeze()


celeryd_after_setup.connect(_only_its_own_queue)
worker_before_create_process.connect(_share_what_is_imported)

"""The Celery application. Its settings are in `celeryconfig.py`, the choreography in `shop/saga.py`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop", config_source="celeryconfig")
app.autodiscover_tasks()  # every service's tasks.py

"""The Celery application, for `celery -A agency worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agency.settings")

app = Celery("agency", config_source="celeryconfig")

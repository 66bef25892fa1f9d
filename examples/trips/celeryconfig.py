"""Celery's settings. What keeps a message from being lost comes from the kernel."""

from django.conf import settings

from sagas.celeryconfig import *  # noqa: F403

broker_url = settings.BROKER_URL

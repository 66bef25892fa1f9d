"""Celery's settings: the kernel's, which keep messages from being lost, and the shop's own.

The reasons, one by one, are in docs/adr/0004-celery-settings.md.
"""

from django.conf import settings

from sagas.celeryconfig import *  # noqa: F403

broker_url = settings.BROKER_URL
if broker_url.startswith("memory:"):
    broker_transport_options = {"polling_interval": 0.01}

# Supervision
worker_consumer = "supervision.worker:Consumer"
worker_soft_shutdown_timeout = settings.SHUTDOWN_GRACE  # on SIGQUIT; on SIGTERM supervision.worker sees to it
beat_scheduler = "supervision.beat:Scheduler"

# Watching
worker_send_task_events = settings.TASK_EVENTS  # off: until Flower asks for them, by remote control
worker_enable_remote_control = settings.REMOTE_CONTROL
task_send_sent_event = False
worker_hijack_root_logger = False

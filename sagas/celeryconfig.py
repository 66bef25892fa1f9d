"""Celery's settings, each of which keeps a message from being lost: a project's `celeryconfig.py` begins with them all.

A project that sets `broker_transport_options` must keep `confirm_publish`, or beat's ticks are sent unconfirmed.
"""

from sagas.conf import conf
from sagas.serializer import EVENTS
from sagas.topology import beat_schedule as schedule
from sagas.topology import queues

# Connection
broker_heartbeat = 10
broker_connection_timeout = 4
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a broker that is away is waited for
broker_channel_error_retry = True
broker_transport_options = {"connect_timeout": 4, "read_timeout": 15, "write_timeout": 15, "confirm_publish": True}

# Queues: declared by name, one per service; a task's queue is its service, the part of its name before the dot.
task_queues = queues()
task_routes = (lambda name, *_, **__: {"queue": name.partition(".")[0]},)
task_create_missing_queues = False
task_default_queue_type = "quorum"
worker_detect_quorum_queues = True
worker_consumer = "sagas.worker:Consumer"  # which declares no queues for delayed messages

# Messages: JSON only, no results kept, arguments not shown to Flower (the publisher writes a summary instead).
task_serializer = "json"
accept_content = ["json", EVENTS]
task_ignore_result = True

# Acknowledge after the work, and only if it was done.
task_acks_late = True
task_acks_on_failure = False
task_acks_on_timeout = False
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = True
worker_soft_shutdown_timeout = 20

# A step waits out an outage for `patience` and then requeues its message; these only catch what hangs.
task_soft_time_limit = conf().patience + 120
task_time_limit = conf().patience + 180

# Database connections: Celery would close them around every task, half of all time measured.
CELERY_DB_REUSE_MAX = 10_000

# Timers
beat_schedule = schedule()
beat_max_loop_interval = 1
timezone = "UTC"

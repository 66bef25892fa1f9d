"""A worker's connection to the broker: Celery's, without the exchanges for messages that are to come later.

For quorum queues Celery declares 28 queues and 29 exchanges for `countdown` and `eta`, in every vhost and at every
start. The shop sends nothing with either (docs/adr/0004-celery-settings.md).
"""

from celery.worker.consumer import Consumer as CelerysConsumer

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(CelerysConsumer):
    """Named in `celeryconfig.worker_consumer`."""

    class Blueprint(CelerysConsumer.Blueprint):
        default_steps = [step for step in CelerysConsumer.Blueprint.default_steps if step != DELAYED_DELIVERY]

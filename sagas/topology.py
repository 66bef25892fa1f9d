"""The broker's side: one quorum queue per service with its dead-letter queue, and beat's schedule.

Everything is declared by whoever connects first, and again after a broker came back empty: the declaration is
idempotent. A queue's arguments cannot be changed once it exists, so they are few; what may change is a policy.
"""

from kombu import Connection, Exchange, Queue

from shop.saga import SAGA, TIMERS, service_of

DELIVERY_LIMIT = 20  # a message that killed its worker this often is dead-lettered (three was too few under restarts)
# RabbitMQ 4 limits every quorum queue to 20 deliveries unless told otherwise, and drops what has no further queue to go
# to. Said with a number, because 3.10 takes -1 for "none at all".
NO_LIMIT = 1_000_000
DEAD_LETTERS = Exchange("shop.dead", type="direct", durable=True)

SERVICES_WITH_QUEUES = tuple(
    sorted({service_of(task) for tasks in SAGA.values() for task in tasks} | set(map(service_of, TIMERS)))
)


def _queue(service: str) -> Queue:
    return Queue(
        service,
        Exchange(""),
        routing_key=service,
        durable=True,
        queue_arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD_LETTERS.name,
            "x-dead-letter-routing-key": service,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # what at-least-once dead-lettering requires
        },
    )


def _dead_letter_queue(service: str) -> Queue:
    return Queue(
        f"{service}.dead",
        DEAD_LETTERS,
        routing_key=service,
        durable=True,
        queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT},
    )


QUEUES = tuple(map(_queue, SERVICES_WITH_QUEUES))
DEAD_LETTER_QUEUES = tuple(map(_dead_letter_queue, SERVICES_WITH_QUEUES))

# A tick that waited in a queue for longer than this is no longer worth running: the next one is already there.
BEAT_SCHEDULE = {
    task: {"task": task, "schedule": seconds, "options": {"expires": max(10 * seconds, 30), "queue": service_of(task)}}
    for task, seconds in TIMERS.items()
}


def declare(connection: Connection) -> None:
    """Create every queue that is missing."""
    with connection.channel() as channel:
        for queue in (*DEAD_LETTER_QUEUES, *QUEUES):
            queue(channel).declare()

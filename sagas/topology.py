"""The broker's side: one quorum queue per service with its exchange and its dead-letter queue, and beat's schedule.

Each queue has an exchange of the same name, because RabbitMQ gives rights to write by exchange: who may write to the
default exchange may write to every queue.

Whoever connects declares all of it, again after a broker came back empty: declarations are idempotent. Where processes
have no right to (`Settings.declares`), an administrator does. A queue's arguments cannot be changed once it exists, so
they are few; what may change is a policy.
"""

from typing import Any

from kombu import Connection, Exchange, Queue

from sagas.conf import choreography, conf
from sagas.saga import service_of

DELIVERY_LIMIT = 20  # a message that killed its worker this often is dead-lettered (three was too few under restarts)
# Dead-letter queues must not drop messages, as RabbitMQ 4 does by default after 20 deliveries. A large number, because
# RabbitMQ 3.10 reads -1 as "no delivery at all".
NO_LIMIT = 1_000_000


def queues() -> list[Queue]:
    """The queue of each service, bound to the exchange of the same name."""
    arguments = {
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": conf().dead_letter_exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # what at-least-once dead-lettering requires
    }
    return [_queue(one, one, one, arguments | {"x-dead-letter-routing-key": one}) for one in choreography().services]


def dead_letter_queues() -> list[Queue]:
    """The queue, for each service, of messages that the broker has set aside."""
    exchange, arguments = conf().dead_letter_exchange, {"x-delivery-limit": NO_LIMIT}
    return [_queue(f"{service}.dead", exchange, service, arguments) for service in choreography().services]


def _queue(name: str, exchange: str, routing_key: str, arguments: dict[str, Any]) -> Queue:
    return Queue(
        name,
        Exchange(exchange, type="direct", durable=True),
        routing_key=routing_key,
        durable=True,
        no_declare=not conf().declares,
        queue_arguments={"x-queue-type": "quorum"} | arguments,
    )


def beat_schedule() -> dict[str, Any]:
    """For Celery's beat, whose ticks are confirmed: one sent to a queue without a leader is sent again.

    A tick that waits in its queue longer than ten intervals is stale: the broker drops it, by its own clock. (`expires`
    would have each worker decide by its clock, and one that is ahead would drop every tick.)
    """
    schedule = {}
    for task, seconds in choreography().timers.items():
        options = {"expiration": max(10 * seconds, 30), "confirm_timeout": conf().confirm_timeout, **destination(task)}
        schedule[task] = {"task": task, "schedule": seconds, "options": options}
    return schedule


def destination(task: str) -> dict[str, str]:
    """Where a step's or a timer's messages go, as options of `send_task`. Without an exchange by name Celery would take
    the default one."""
    service = service_of(task)
    return {"queue": service, "exchange": service, "routing_key": service}


def declare(connection: Connection) -> None:
    """Create every queue that is missing, if that is this process's to do."""
    if not conf().declares:
        return
    with connection.channel() as channel:
        for queue in (*dead_letter_queues(), *queues()):
            queue(channel).declare()

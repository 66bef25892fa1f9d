"""The four steps as in Celery's and Django's documentation: one message per order and step.

A step writes its inbox row and its effect in one transaction, sends the next step's message, and is then acknowledged.
If it dies in between, its message is redelivered, finds the inbox row, and sends the next message again.
"""

import os

import django
from celery import Celery, shared_task
from django.conf import settings
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from kombu import Queue

django.setup()

from benchmarks.plain.models import Completion, Delivery, Effect, Inbox, Order, Payment, Reservation  # noqa: E402

app = Celery("plain")
app.conf.update(
    broker_url=os.environ["BROKER_URL"],
    broker_transport_options={"confirm_publish": True},
    task_queues=[Queue(os.environ["PLAIN_QUEUE"], queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=os.environ["PLAIN_QUEUE"],
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    CELERY_DB_REUSE_MAX=10_000,  # else Celery closes the database connection around every task
)
app.set_default()


def handle(step: str, effect: type[Effect], order_id: int) -> None:
    """Write a step's effect, once."""
    try:
        with transaction.atomic():
            Inbox.objects.create(step=step, order_id=order_id)
            effect.objects.create(order_id=order_id)
    except IntegrityError:
        if not Inbox.objects.filter(step=step, order_id=order_id).exists():
            raise


@shared_task
def notify(order_id: int, what: str) -> None:
    """Send an e-mail to the customer once, or twice if the worker dies right after sending."""
    order = Order.objects.get(pk=order_id)
    step = f"notify {what}"
    if not Inbox.objects.filter(step=step, order_id=order_id).exists():
        send_mail(f"Your order {order_id}", f"Your order {order_id} is {what}.", "shop@example.com", [order.email])
        Inbox.objects.create(step=step, order_id=order_id)


@shared_task
def complete(order_id: int) -> None:
    handle("complete", Completion, order_id)


@shared_task
def deliver(order_id: int) -> None:
    handle("deliver", Delivery, order_id)
    complete.delay(order_id)
    if settings.EMAIL_PORT:
        notify.delay(order_id, "shipped")


@shared_task
def charge(order_id: int) -> None:
    handle("charge", Payment, order_id)
    deliver.delay(order_id)


@shared_task
def reserve(order_id: int) -> None:
    handle("reserve", Reservation, order_id)
    charge.delay(order_id)

"""What notifications keeps of a customer: all that they were told, which is deleted after RETENTION anyway, by which
channel they want to be told it, and whether nothing reaches them."""

from collections.abc import Collection, Sequence

from notifications.models import Notification, OptOut, Suppression, WebhookMessage
from notifications.suppressions import forget
from shop import mailfiles
from shop.calls.personal import listed
from shop.contracts.events import CustomerErased, orders_of
from shop.contracts.personal import Rows
from shop.redaction import redact_messages


def of_user(user_id: int) -> Rows:
    """What is kept of a customer."""
    return {
        "opt_outs": listed(OptOut.objects.filter(user_id=user_id).order_by("pk")),
        "suppressions": listed(Suppression.objects.filter(user_id=user_id).order_by("pk")),
    }


def of_orders(order_ids: Collection[int]) -> Rows:
    """What is kept of these orders."""
    return {
        "notifications": listed(Notification.objects.filter(order_id__in=order_ids).order_by("pk")),
        "webhook_messages": listed(WebhookMessage.objects.filter(order_id__in=order_ids).order_by("pk")),
    }


def erase(erased: Sequence[CustomerErased]) -> None:
    """Keep nothing that these customers were told. Runs inside a transaction on notifications.

    What webhooks were told has the numbers and amounts that orders keeps, too, and goes after RETENTION.
    """
    user_ids = [event.user_id for event in erased]
    told = Notification.objects.filter(user_id__in=user_ids)
    known = told.select_for_update().order_by("pk").values_list("channel", "recipient")
    recipients = {recipient for channel, recipient in known if channel == Notification.Channel.EMAIL}
    for recipient in recipients:
        mailfiles.delete(recipient)
    forget(user_ids, recipients)
    OptOut.objects.filter(user_id__in=user_ids).delete()
    told.delete()
    order_ids = orders_of(erased)
    redact_messages("notifications", order_ids)

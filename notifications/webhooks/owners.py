"""Whose webhooks they are, and whether these may still know what they are told."""

from notifications.webhooks import subscriptions
from notifications.webhooks.models import Webhook
from shop.calls import connect
from shop.contracts.accounts import ContactsService


def review() -> int:
    """Ask accounts for the owners' rights, and end the subscriptions that go beyond them; how many those were.

    Raises `sagas.Unavailable` while accounts is away.
    """
    owners = list(Webhook.objects.filter(enabled=True).values_list("owner_id", flat=True).distinct())
    return subscriptions.end_without_rights(dict(connect(ContactsService).get_rights(owners))) if owners else 0

"""Whose webhooks they are, and whether these may still know what they are told."""

from collections.abc import Iterable

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


def lacking(webhooks: Iterable[Webhook]) -> dict[int, list[str]]:
    """The rights that the owner of each of these webhooks lacks for its events. Raises `sagas.Unavailable` while
    accounts is away."""
    owned = {webhook.pk: webhook for webhook in webhooks}
    rights = connect(ContactsService).get_rights({one.owner_id for one in owned.values()})
    return {pk: subscriptions.lacking(one.events, rights[one.owner_id]) for pk, one in owned.items()}

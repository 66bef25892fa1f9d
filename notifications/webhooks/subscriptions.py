"""The rules of subscriptions, and the only code that writes them, but for what sending finds out (`sending.py`)."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from fastdb.clock import database_time
from notifications.webhooks import events, transport
from notifications.webhooks.models import Webhook, WebhookMessage
from notifications.webhooks.secrets import encrypted, new_secret
from sagas.db.prepared import query
from sagas.events import uuid7
from shop import stafflog
from shop.api.problems import InvalidInput, Problem

OVERLAP = timedelta(days=1)  # in which a replaced secret signs beside the new one
MOST = 20  # subscriptions of one owner
CHANGEABLE = ("url", "events", "description", "enabled")

Status = WebhookMessage.Status


class UnknownWebhook(Problem):
    """There is no such webhook, or it is somebody else's."""

    code = "W001"


class UnknownMessage(Problem):
    """There is no such message of this webhook."""

    code = "W002"


class TooManyWebhooks(Problem):
    """You have as many webhooks as one may have: change or delete one."""

    code = "W003"


def subscribe(*, owner_id: int, url: str, events: Sequence[str], description: str = "") -> tuple[Webhook, str]:
    """A new subscription and its secret, which is shown once. Raises `InvalidInput`, `TooManyWebhooks`."""
    _check_url(url)
    with transaction.atomic(using="notifications", durable=True):
        query("notifications", "SELECT pg_advisory_xact_lock(hashtext(%s))", [f"webhooks of {owner_id}"])  # one by one
        if Webhook.objects.filter(owner_id=owner_id).count() >= MOST:
            raise TooManyWebhooks
        secret = new_secret()
        webhook = Webhook.objects.create(
            owner_id=owner_id, url=url, events=_ordered(events), description=description, secret=encrypted(secret)
        )
        webhook.refresh_from_db()
        after = {"url": url, "events": webhook.events}
        stafflog.record("notifications", "subscribe", str(webhook), after=after)
    return webhook, secret


def change(webhook_id: int, **values: Any) -> Webhook:
    """Change some of CHANGEABLE. Who is enabled, or gets another address, is tried at once. Raises `InvalidInput`,
    `UnknownWebhook`."""
    if "url" in values:
        _check_url(values["url"])
    if "events" in values:
        values["events"] = _ordered(values["events"])
    with transaction.atomic(using="notifications", durable=True):
        webhook = _locked(webhook_id)
        before = {name: getattr(webhook, name) for name in values}
        for name, value in values.items():
            setattr(webhook, name, value)
        webhook.disabled_reason = "" if webhook.enabled else webhook.disabled_reason
        if "url" in values or values.get("enabled"):
            webhook.failures, webhook.failing_since = 0, None
            webhook.free_at = min(webhook.free_at, database_time("notifications"))
        webhook.save()
        stafflog.record("notifications", "change", str(webhook), before=before, after=values)
    return webhook


def rotate(webhook_id: int) -> str:
    """Another secret, shown once. For OVERLAP messages are signed with both. Raises `UnknownWebhook`."""
    with transaction.atomic(using="notifications", durable=True):
        webhook = _locked(webhook_id)
        webhook.former_secret, webhook.former_until = webhook.secret, database_time("notifications") + OVERLAP
        secret = new_secret()
        webhook.secret = encrypted(secret)
        webhook.save()
        stafflog.record("notifications", "issue another secret", str(webhook))
    return secret


def unsubscribe(webhook_id: int) -> None:
    """Delete a subscription with what it was and was to be told. Raises `UnknownWebhook`."""
    with transaction.atomic(using="notifications", durable=True):
        webhook = _locked(webhook_id)
        stafflog.record("notifications", "unsubscribe", str(webhook), before={"url": webhook.url})
        webhook.delete()


def ping(webhook_id: int) -> WebhookMessage:
    """Have a test message sent, also to one that is disabled: so one sees whether it can be enabled again."""
    with transaction.atomic(using="notifications", durable=True):
        webhook = _locked(webhook_id)
        event_id = uuid7()
        body = events.body_of(events.PING, event_id, {"webhookId": webhook.pk})
        message = WebhookMessage.objects.create(webhook=webhook, event_id=event_id, type=events.PING, body=body)
        Webhook.objects.filter(pk=webhook.pk, failures__gt=0).update(free_at=database_time("notifications"))
        stafflog.record("notifications", "ping", str(webhook))
    message.refresh_from_db()
    return message


def replay(webhook_id: int, *, since: datetime) -> int:
    """Send again all that happened since a time of the events that it is subscribed to now, whether or not it had
    arrived, with the ids that it had; how many messages that is. Raises `UnknownWebhook`."""
    with transaction.atomic(using="notifications", durable=True):
        webhook = _locked(webhook_id)
        count = _due_again(webhook.messages.filter(created_at__gte=since).exclude(type=events.PING))
        stafflog.record("notifications", "replay", str(webhook), after={"since": since.isoformat(), "messages": count})
    return count


def replay_message(webhook_id: int, message_id: int) -> WebhookMessage:
    """Send one message again. Raises `UnknownMessage`."""
    with transaction.atomic(using="notifications", durable=True):
        found = WebhookMessage.objects.filter(webhook_id=webhook_id, pk=message_id)
        if not _due_again(found):
            raise UnknownMessage(f"There is no message {message_id} of what webhook {webhook_id} is subscribed to.")
        stafflog.record("notifications", "replay", f"webhook message {message_id}")
    return found.get()


def replay_messages(chosen: QuerySet[WebhookMessage]) -> int:
    """Send these messages again, but for those of events that were unsubscribed from; how many they are."""
    with transaction.atomic(using="notifications", durable=True):
        webhooks = set(chosen.values_list("webhook_id", flat=True))
        list(Webhook.objects.select_for_update().filter(pk__in=webhooks).order_by("pk"))  # before their messages
        count = _due_again(chosen)
        stafflog.record("notifications", "replay", "webhook messages", after={"messages": count})
    return count


def end_without_rights(allowed: dict[int, Collection[str]]) -> int:
    """Disable subscriptions of owners who have lost the right to what they hear; `allowed` are the rights that owners
    have now. How many those were."""
    ended = 0
    with transaction.atomic(using="notifications", durable=True):
        for webhook in Webhook.objects.select_for_update().filter(enabled=True, owner_id__in=allowed).order_by("pk"):
            if lost := lacking(webhook.events, allowed[webhook.owner_id]):
                reason = f"Its owner has not the right {', '.join(lost)} any more."
                ended += Webhook.objects.filter(pk=webhook.pk).update(enabled=False, disabled_reason=reason)
    return ended


def lacking(wanted: Iterable[str], rights: Collection[str]) -> list[str]:
    """The rights that these events ask for, without those that their owner has."""
    return sorted({events.TYPES[one] for one in wanted if one in events.TYPES}.difference(rights))


def _due_again(messages: QuerySet[WebhookMessage]) -> int:
    now = database_time("notifications")
    subscribed = messages.filter(Q(type=events.PING) | Q(webhook__events__contains=[F("type")]))
    return subscribed.update(status=Status.PENDING, attempts=0, due_at=now, error="")


def _locked(webhook_id: int) -> Webhook:
    webhook = Webhook.objects.select_for_update().filter(pk=webhook_id).first()
    if webhook is None:
        raise UnknownWebhook(f"There is no webhook {webhook_id}.")
    return webhook


def _check_url(url: str) -> None:
    if wrong := transport.refusal(url):
        raise InvalidInput(errors=[{"field": "url", "value": url, "reason": wrong}])


def _ordered(wanted: Iterable[str]) -> list[str]:
    """Each once, in the order in which the API lists them."""
    chosen = set(wanted)
    return [kind for kind in events.TYPES if kind in chosen]

"""From what is due to the subscribers, in a way in which none of them can hold up another.

A tick only looks who has something due, and gives each of these a thread of its own, a turn, up to TURNS of them. The
worker goes on with its steps. Whoever has not answered quickly before is *slow*, and slow ones have at most SLOW_TURNS,
so that all the subscribers who keep others waiting keep each other waiting. After a failure a subscriber is left alone
for a pause, then asked with a single message, until it takes one.

What a thread that died had in hand is sent once more when its lease is over: at least once.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.db import connections, transaction
from prometheus_client import Counter
from standardwebhooks.webhooks import Webhook as Signer

from fastdb.bulk import update_rows
from fastdb.clock import database_time
from notifications.webhooks.models import Webhook, WebhookMessage
from notifications.webhooks.secrets import decrypted
from notifications.webhooks.transport import Answer, Subscriber
from sagas.crash_points import crash_point
from sagas.db.prepared import query

logger = logging.getLogger(__name__)

Status = WebhookMessage.Status

ATTEMPTS = Counter(
    "shop_webhook_attempts_total",
    "Messages sent to webhooks, by what came of it: taken, refused, unanswered.",
    ["outcome"],
)

TURNS, SLOW_TURNS = 8, 4  # webhooks that one process sends to at once, and how many of them may be slow
TURN = 10.0  # seconds after which a turn begins no other portion
PORTION = 20  # messages of a subscriber that are written down as sent together
QUICK = 2.0  # seconds within which who is not slow has answered
STRIKES = 3  # refused messages in a row that end a turn; one without any answer does at once
LEASE = timedelta(minutes=2)  # more than a portion takes at its slowest
GONE = 410  # "do not send me anything any more"

# After the first attempt, the second and so on: 75 hours and more, as the specification proposes; then it has FAILED.
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400))
JITTER = 0.3  # of a pause, at most, on top of it
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0  # seconds for which a subscriber is left alone, doubling
DEAD_AFTER = timedelta(days=3)  # without any success, and not before as many failures as a message has attempts

# A disabled one is sent its pings only; what waits of events that were unsubscribed from stays where it is.
CLAIM = """
    UPDATE notifications_webhook SET free_at = %(now)s + %(lease)s::interval, served_at = %(now)s
    WHERE id IN (
        SELECT id FROM notifications_webhook AS hook
        WHERE free_at <= %(now)s AND slow = %(slow)s AND EXISTS (
            SELECT FROM notifications_webhookmessage AS message
            WHERE message.webhook_id = hook.id AND message.status = 'PENDING' AND message.due_at <= %(now)s
                AND (message.type = 'ping' OR (hook.enabled AND message.type = ANY(hook.events)))
        )
        ORDER BY served_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
    )
    RETURNING id
"""

_running: dict[threading.Thread, bool] = {}  # with whether it serves a slow one
_lock = threading.Lock()


def begin_turns() -> int:
    """Serve subscribers who have something due, each in a thread of its own; how many turns have begun."""
    with _lock:
        for thread in [one for one in _running if not one.is_alive()]:
            del _running[thread]
        begun = 0
        for slow in (False, True):
            room = TURNS - len(_running)
            if slow:
                room = min(room, SLOW_TURNS - sum(_running.values()))
            for webhook_id in _claim(slow=slow, most=room) if room > 0 else ():
                thread = threading.Thread(target=_turn, args=(webhook_id,), daemon=True, name=f"webhook-{webhook_id}")
                _running[thread] = slow
                thread.start()
                begun += 1
    return begun


def wait(timeout: float = 60.0) -> None:
    """Until the turns that have begun are over. For tests, and for who ends a process in good order."""
    ends_at = time.monotonic() + timeout
    with _lock:
        running = list(_running)
    for thread in running:
        thread.join(max(0.0, ends_at - time.monotonic()))


def _claim(*, slow: bool, most: int) -> list[int]:
    now = database_time("notifications")
    found = query("notifications", CLAIM, {"now": now, "lease": f"{LEASE.seconds} s", "slow": slow, "most": most})
    crash_point("webhooks.claimed")
    return [pk for (pk,) in found]


def _turn(webhook_id: int) -> None:
    """Serve one subscriber until nothing is due, it fails, or others should have their turn."""
    ends_at = time.monotonic() + TURN
    try:
        webhook = Webhook.objects.filter(pk=webhook_id).first()
        if webhook is None:
            return
        with Subscriber(webhook.url) as subscriber:
            while (portion := _due(webhook)) and serve(webhook, subscriber, portion):
                if time.monotonic() > ends_at:
                    break
        Webhook.objects.filter(pk=webhook_id, failures=0).update(free_at=database_time("notifications"))
    except Exception:  # a bug or an outage: what was in hand is sent when the lease is over
        logger.exception("The turn of webhook %d was cut short", webhook_id)
    finally:
        connections["notifications"].close()


def _due(webhook: Webhook) -> list[WebhookMessage]:
    """The next messages; of one that is failing a single one, to see whether it still is."""
    due = webhook.messages.filter(status=Status.PENDING, due_at__lte=database_time("notifications"))
    due = due.filter(type__in=["ping", *(webhook.events if webhook.enabled else ())])
    return list(due.order_by("due_at", "pk")[: 1 if webhook.failures else PORTION])


def serve(webhook: Webhook, subscriber: Subscriber, portion: Sequence[WebhookMessage]) -> bool:
    """Send a portion, and write down what became of it; whether the subscriber may be sent more."""
    answers: dict[int, Answer] = {}
    refused = 0
    for message in portion:
        answer = subscriber.post(message.body.encode(), _signed(webhook, message))
        crash_point("webhooks.sent")
        answers[message.pk] = answer
        ATTEMPTS.labels("taken" if _took(answer) else "refused" if answer.status else "unanswered").inc()
        refused = 0 if _took(answer) else refused + 1
        webhook.slow = answer.seconds > QUICK or not answer.status
        if webhook.slow or refused >= STRIKES or answer.status == GONE:
            break
    return _settle(webhook, [one for one in portion if one.pk in answers], answers)


def _signed(webhook: Webhook, message: WebhookMessage) -> Mapping[str, str]:
    """The headers of one attempt; while two secrets are good, with a signature by each."""
    now = datetime.now(UTC)
    secrets = [webhook.secret]
    if webhook.former_until and webhook.former_until > now:
        secrets.append(webhook.former_secret)
    name = str(message.event_id)
    signatures = [Signer(decrypted(secret)).sign(name, now, message.body) for secret in secrets]
    return {
        "Webhook-Id": name,
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": " ".join(signatures),
    }


def _settle(webhook: Webhook, sent: Sequence[WebhookMessage], answers: Mapping[int, Answer]) -> bool:
    """Write down what became of these messages, and how the subscriber is; whether it may be sent more."""
    now = database_time("notifications")
    for message in sent:
        answer = answers[message.pk]
        message.attempts += 1
        message.answer, message.error = answer.status or None, _error(answer)
        if _took(answer):
            message.status, message.sent_at = Status.SENT, now
            webhook.failures, webhook.failing_since = 0, None
        else:
            given_up = message.attempts > len(PAUSES)
            message.status = Status.FAILED if given_up else Status.PENDING
            message.due_at = now if given_up else now + _jittered(PAUSES[message.attempts - 1])
            webhook.failures += 1
            webhook.failing_since = webhook.failing_since or now
    last = answers[sent[-1].pk]
    goes_on = _took(last) and not webhook.slow
    webhook.free_at = now + (LEASE if goes_on else _pause(webhook.failures, last))
    with transaction.atomic(using="notifications", durable=True):
        # Before its messages, as everybody locks them. The rest is its owner's to change.
        update_rows([webhook], "failures", "failing_since", "slow", "free_at")
        update_rows(sent, "attempts", "answer", "error", "status", "sent_at", "due_at")
        if why := _death(webhook, last, now):
            # Unless its owner has sent us elsewhere meanwhile.
            still = Webhook.objects.filter(pk=webhook.pk, url=webhook.url, enabled=True)
            still.update(enabled=False, disabled_reason=why[:200], updated_at=now)
        crash_point("webhooks.written")
    crash_point("webhooks.committed")
    return goes_on


def _death(webhook: Webhook, last: Answer, now: datetime) -> str:
    """Why a subscription is to be disabled; "" if it is not."""
    if last.status == GONE:
        return "It answered 410: it is gone."
    since = webhook.failing_since
    if since and since < now - DEAD_AFTER and webhook.failures > len(PAUSES):
        return f"It has taken nothing since {since:%F %R} UTC. {_error(last)}"
    return ""


def _pause(failures: int, last: Answer) -> timedelta:
    """For how long a subscriber is left alone after its last answer."""
    if _took(last):
        return timedelta()
    pause = min(FIRST_PAUSE * 2 ** min(max(failures, 1) - 1, 20), LONGEST_PAUSE)
    return _jittered(timedelta(seconds=max(pause, min(last.wait, LONGEST_PAUSE))))


def _took(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _error(answer: Answer) -> str:
    if _took(answer):
        return ""
    return f"It answered {answer.status}." if answer.status else answer.error


def _jittered(pause: timedelta) -> timedelta:
    return pause * random.uniform(1, 1 + JITTER)  # nosec B311

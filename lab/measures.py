"""What the load test and chaos both measure: percentiles, unfinished work, locks that are held."""

from collections.abc import Sequence

import redis
from django.apps import apps
from django.conf import settings
from django.db.models import Q

from sagas.registry import local_services
from shop.contracts.orders import RETURN_FINAL


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and max, in seconds."""
    ordered = sorted(values) or [0.0]
    at = {f"p{percent}": ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] for percent in (50, 95, 99)}
    return {name: round(value, 3) for name, value in {**at, "max": ordered[-1]}.items()}


LOOKS = 5  # after a void, over 15 seconds: no stand-in takes as long to answer a charge that was on its way


def unfinished() -> dict[str, int]:
    """Return the unfinished work: open orders and returns, events in outboxes, open payments."""
    open_payments = Q(due_at__isnull=False) | Q(status="PENDING")
    looked_after = Q(status="VOIDED", attempts__gte=LOOKS)  # for some time longer, as at a real provider
    waiting = {
        "orders": apps.get_model("orders.Order").objects.filter(look_at__isnull=False).count(),
        "returns": apps.get_model("orders.Return").objects.exclude(look_at=None, status__in=RETURN_FINAL).count(),
        "payments": apps.get_model("payments.Payment").objects.filter(open_payments).exclude(looked_after).count(),
        "events": sum(apps.get_model(service, "Unsent").objects.count() for service in local_services()),
    }
    return {what: count for what, count in waiting.items() if count}


def locks_left() -> list[str]:
    """Return the stock locks that are held."""
    with redis.Redis.from_url(str(settings.CACHES["locks"]["LOCATION"])) as locks:
        return [key.decode() for key in locks.scan_iter("*lock*")]

"""What can be seen only with access to the shop's databases and Redis: the audit, locks."""

import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils.module_loading import import_string
from redis.exceptions import RedisError

from audit import Violation, audit, invariant_names
from lab.loadtest.people import CUSTOMERS, STAFF
from lab.measures import locks_left, unfinished

PATIENCE = 60.0  # seconds for what follows the orders' ends: e-mails, the closing of orders
STILL = timedelta(seconds=1)  # the audit of a running shop checks orders that have not changed for this long


def seed(password: str) -> None:
    """Create the users that the load comes from, in a shop of our own."""
    users: list[dict[str, Any]] = [{"email": email, "name": email.partition("@")[0]} for email in CUSTOMERS]
    users.append({"email": STAFF, "name": "Admin", "is_staff": True, "is_superuser": True})
    import_string("accounts.services.seed_users")(users, password=password)


def same_shop(evidence: tuple[int, str] | None) -> bool:
    """Whether this process's databases are those of the shop that accepted this order."""
    if evidence is None or settings.ALONE:
        return False
    if settings.EMBEDDED and not (settings.VAR_DIR / "postgres").exists():
        return False  # looking would create it
    order_id, created_at = evidence
    with suppress(DatabaseError, InterfaceError):
        found = apps.get_model("orders.Order").objects.filter(pk=order_id).values_list("created_at", flat=True)
        return list(found) == [datetime.fromisoformat(created_at)]
    return False


def look_for_locks() -> list[str] | None:
    """Return the stock locks that are held; None if they cannot be read."""
    if not str(settings.CACHES["locks"]["LOCATION"]).startswith("redis") or settings.EMBEDDED:
        return None
    with suppress(RedisError):
        return locks_left()
    return None


def audited(*, own: bool, at_rest: bool) -> dict[str, Any]:
    """Audit the shop. In a shop of our own, at rest, every order is checked, and must have ended."""
    give_up_at = time.monotonic() + PATIENCE
    while at_rest and unfinished() and time.monotonic() < give_up_at:
        time.sleep(0.2)
    found = list(audit(strict=own) if at_rest and own else audit(age=STILL) if at_rest else audit())
    orders = sum(one for one in found if not isinstance(one, Violation))
    violations = [one for one in found if isinstance(one, Violation)]
    if violations:
        first = violations[0]
        detail = f"{len(violations)} violations; the first is {first.invariant}: {first.subject}: {first.detail}"
    else:
        detail = f"clean: {orders:,} orders, {len(invariant_names())} invariants, nothing broken"
    return {"good": not violations, "orders": orders, "violations": len(violations), "detail": detail}

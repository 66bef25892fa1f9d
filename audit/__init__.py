"""Checks the invariants that span services, over the seven databases and the gateways' ledgers.

`facts.py` reads the facts about orders, in windows so that memory stays constant; `rows.py` has the statements.
`invariants.py` and `changes.py` check them. `returns.py` does both for returns, and `privacy.py` checks that what must
be erased is.
"""

from collections.abc import Iterator
from datetime import timedelta

from django.utils import timezone

from audit.changes import changes_add_up, changes_end, sent_where_it_was_to_go
from audit.facts import count_orders, windows
from audit.invariants import PER_WINDOW as OF_WINDOW
from audit.invariants import WHOLE as OF_ORDERS
from audit.invariants import Violation
from audit.privacy import erased_is_gone, forgotten_in_time
from audit.returns import OF_RETURNS
from audit.returns import violations as of_returns

PER_WINDOW = (*OF_WINDOW, changes_add_up, changes_end, sent_where_it_was_to_go)
WHOLE = (*OF_ORDERS, forgotten_in_time, erased_is_gone)

__all__ = ["Violation", "audit", "count_orders", "invariant_names"]


def audit(
    *, strict: bool = False, age: timedelta = timedelta(seconds=60), window: int = 1000
) -> Iterator[int | Violation]:
    """Check every invariant. Yields each violation, and after each window the number of its orders.

    On a running system, only what has not changed for `age` is checked. `strict` checks everything and expects every
    order to have ended: for a system at rest, after a test or an incident.
    """
    before = timezone.now() if strict else timezone.now() - age
    for check in WHOLE:
        yield from check(before)
    yield from of_returns(before, strict, window)
    for facts in windows(before, strict, window):
        for check_window in PER_WINDOW:
            yield from check_window(facts)
        yield len(facts.orders)


def invariant_names() -> list[str]:
    """The names of all invariants, as used in violations."""
    return sorted(check.__name__ for check in (*WHOLE, *OF_RETURNS, *PER_WINDOW))

"""The owner's rules about returns. A setting names the function of each: `RETURN_APPROVAL`, `RETURN_KEEPS`.

Both are handed the return, with its `lines` and its `order`; neither may change anything.
"""

from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from orders.returns.models import Return


# --- RETURN_APPROVAL: whether a return is approved as soon as it is requested ----------------------------------------
def staff_decide(_requested: Return) -> bool:
    """Every return waits for staff."""
    return False


def approve_at_once(_requested: Return) -> bool:
    """Whatever may be returned at all, which is what a customer has a right to."""
    return True


# --- RETURN_KEEPS: how much of what the pieces cost is not given back ------------------------------------------------
def keep_nothing(_inspected: Return, _amount: int) -> int:
    """All of it is given back."""
    return 0


def approves(requested: Return) -> bool:
    """What the rule says. A mistake in it fails the request."""
    return bool(_rule(settings.RETURN_APPROVAL)(requested))


def keeps(inspected: Return, amount: int) -> int:
    """What the rule says of an amount, and no more than that."""
    return min(max(0, int(_rule(settings.RETURN_KEEPS)(inspected, amount))), amount)


_rule = cache(import_string)

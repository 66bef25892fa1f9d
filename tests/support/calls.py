"""Who calls, and whom those who answer know."""

from typing import Any

from shop.callers import derived_key, public_part, rings

SECRET = "of these tests"


def known(settings: Any, *callers: str) -> None:
    """Those who answer know these callers."""
    settings.INTERNAL_CALLERS = rings(entry(caller) for caller in callers)


def become(settings: Any, caller: str, *, key: str = "") -> None:
    """This process is a caller, with its own key or with that of another."""
    settings.SHOP_SERVICE, settings.INTERNAL_KEY = caller, derived_key(SECRET, key or caller)


def entry(caller: str) -> str:
    """As INTERNAL_CALLERS has it."""
    return f"{caller}={public_part(derived_key(SECRET, caller))}"

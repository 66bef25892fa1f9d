"""The timers of accounts."""

from accounts import erasure, services
from sagas import purge_messages, timer


@timer
def erase_closed() -> int:
    """Erase customers who have left, once their orders have ended; publish that until every service has handled it."""
    return erasure.erase_closed()


@timer
def purge() -> int:
    """Delete what is over: sign-ins, guesses, letters, sessions, and messages past their retention."""
    return services.purge() + purge_messages("accounts")

"""What accounts does by the clock."""

from accounts import erasure, services
from sagas import purge_messages, timer


@timer
def erase_closed() -> int:
    """Erase those who have left, once their orders have ended; tell the others until each has heard it."""
    return erasure.erase_closed()


@timer
def purge() -> int:
    """Delete what is over: sign-ins, guesses, letters, sessions, and messages past their retention."""
    return services.purge() + purge_messages("accounts")

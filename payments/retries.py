"""When a gateway is asked again about a payment whose outcome is open."""

from datetime import datetime, timedelta

from payments.models import Payment

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds until a gateway is asked again, doubled each time
SHORTEST_LOOK, LONGEST_LOOK = timedelta(seconds=10), timedelta(minutes=10)
LOOK_AT_HOLD = timedelta(hours=6)  # banks hold money for some days
CHECKS_AFTER_VOIDING = 8  # with those pauses 91 seconds: longer than a request to any provider may be under way


def check_now(payment: Payment, now: datetime) -> None:
    """Have the timer ask the gateway about it at its next tick."""
    payment.due_at, payment.attempts, payment.updated_at = now, 0, now


def look_again(payment: Payment, now: datetime) -> None:
    """Have the timer look what has become of a payment that waits for its customer: often while there is little time,
    seldom while there are days, and when the time is over."""
    until = payment.action_until or now
    pause = min(max((until - now) / 20, SHORTEST_LOOK), LONGEST_LOOK)
    payment.due_at = min(now + pause, until) if until > now else now + SHORTEST_LOOK
    payment.attempts, payment.updated_at = 0, now


def look_at_hold(payment: Payment, now: datetime) -> None:
    """Have the timer look, from time to time, whether money that is held still is."""
    payment.due_at, payment.attempts, payment.updated_at = now + LOOK_AT_HOLD, 0, now


def put_off(payment: Payment, now: datetime) -> None:
    """Have the timer ask again, after a pause that grows with each attempt."""
    pause = min(FIRST_PAUSE * 2 ** min(payment.attempts, 10), LONGEST_PAUSE)
    payment.due_at, payment.attempts, payment.updated_at = now + timedelta(seconds=pause), payment.attempts + 1, now

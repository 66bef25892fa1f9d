"""The messaging kernel. A service needs these names of it; the rest is in the modules.

steps       what a step is            execution    what runs around one
outbox      emit, for what does not start from a message         relay        outbox to broker
publisher   events to messages        topology     queues and timers
deadletters events that failed        models       inbox, outbox and dead-letter tables
deadqueue   what the broker set aside
accounting  events that are missing   gaps         telling them again
housekeeping old rows
"""

from shop.messaging.errors import Unavailable
from shop.messaging.housekeeping import purge_messages
from shop.messaging.outbox import emit
from shop.messaging.publisher import backlog
from shop.messaging.steps import Outcome, step, sweep

__all__ = ["Outcome", "Unavailable", "backlog", "emit", "purge_messages", "step", "sweep"]

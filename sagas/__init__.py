"""The messaging kernel. A service needs these names of it; the rest is in the modules.

steps       what a step is            execution    what runs around one
outbox      emit, for what does not start from a message         relay        outbox to broker
publisher   events to messages        topology     queues and timers
deadletters events that failed        models       inbox, outbox and dead-letter tables
deadqueue   what the broker set aside
accounting  events that are missing   gaps         telling them again
housekeeping old rows
"""

from sagas.outages import Unavailable
from sagas.outbox import emit
from sagas.publisher import backlog
from sagas.retention import purge_messages
from sagas.steps import Outcome, step, sweep

__all__ = ["Outcome", "Unavailable", "backlog", "emit", "purge_messages", "step", "sweep"]

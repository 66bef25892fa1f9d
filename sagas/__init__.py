"""Sagas over Django and Celery: choreographed in batches, with every effect applied exactly once.

A project describes a `Saga` and hands it over in `Settings`; a service's `tasks.py` holds its `step`s and `timer`s, its
models inherit the tables of `sagas.models`. In the order of an event's way:

events        what an event is                      saga            which step hears it, and what undoes what
outbox, relay from a transaction to the broker      publisher       events to messages
steps         how a service declares its part       execution       what runs around a step
inbox         what a step has handled               dead_letters    what could not be handled
worker        merges messages that wait             reconciliation  which events were lost
conf, hooks   settings, and what a project adds     testing         a bus in memory, conformance tests
"""

from sagas.conf import Settings as Settings
from sagas.events import Event as Event
from sagas.hooks import Hooks as Hooks
from sagas.outages import Unavailable as Unavailable
from sagas.outbox import emit as emit
from sagas.publisher import backlog as backlog
from sagas.retention import purge_messages as purge_messages
from sagas.saga import Saga as Saga
from sagas.saga import effect as effect
from sagas.saga import record as record
from sagas.saga import undo as undo
from sagas.steps import step as step
from sagas.steps import timer as timer

__version__ = "0.1.0"

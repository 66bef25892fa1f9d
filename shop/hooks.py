"""What the shop plugs into the kernel: its locks, metrics, traces, logs, fault switches, and calls between services."""

import gc
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

import supervision
from sagas import Event, Hooks
from sagas.messages import Messages
from sagas.saga import service_of
from shop import faults, locks
from shop.calls import connect
from shop.contracts.events import origin
from shop.contracts.messages import MessagesService
from shop.observability import logs, metrics, sdk, tracing

SLOWEST_ROUND = 30.0  # seconds that a relay may take for one portion, with a server that does not answer


class ShopHooks(Hooks):
    """Named in `settings.SAGAS`."""

    def locks(self, keys: Sequence[str]) -> AbstractContextManager[bool]:
        return locks.holding(*keys)

    @contextmanager
    def handling(self, step: str, events: Sequence[Any]) -> Iterator[None]:
        with (
            logs.about(events),
            tracing.spans(step, service_of(step), events),
            metrics.counted(step, events),
        ):
            faults.poison(event.event_id for event in events)
            yield

    @contextmanager
    def relaying(self, service: str, events: Sequence[Any]) -> Iterator[None]:
        with tracing.spans(f"{service}.relay", service, events), metrics.relayed(service, events):
            yield

    def redelivered(self, step: str, count: int) -> None:
        metrics.REPEATED.labels(step).inc(count)

    trace_after = staticmethod(tracing.trace_after)  # called for every event that follows from another

    def headers(self, payload: Sequence[Any]) -> dict[str, str] | None:
        return tracing.headers_for(payload)

    def may_emit(self, sender: str | None, event: type[Event]) -> bool:
        """If each service has its own broker user, accept an event only from its origin or from the back office."""
        if not _is_a_services(urlsplit(settings.BROKER_URL).username):
            return True  # one user for all
        return sender in (f"{settings.PREFIX}{origin(event)}", f"{settings.PREFIX}office")

    def message_received(self) -> None:
        faults.pause("step-delay")

    def copies(self) -> int:
        return faults.copies()

    def process_started(self) -> None:
        sdk.start()
        metrics.serve()
        supervision.watch()
        gc.collect()
        gc.freeze()  # what is imported stays; to look through all of it would halt every relay for 0.1 s now and then

    def process_alive(self, slowest: float) -> None:
        if slowest < SLOWEST_ROUND:
            supervision.alive()

    def process_ending(self) -> None:
        supervision.end_in_time()

    def remote_messages(self, service: str, keys: Collection[int], before: datetime | None) -> Messages:
        return connect(MessagesService, of=service).get_messages(keys, before)


def _is_a_services(user: str | None) -> bool:
    return user in {f"{settings.PREFIX}{service}" for service in settings.SERVICES}

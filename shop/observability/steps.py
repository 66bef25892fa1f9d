"""What is seen of a batch: counted, traced, and named in the log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shop.observability import logs, metrics, tracing

if TYPE_CHECKING:
    from sagas.steps import Step
    from shop.contracts.events import Event


@contextmanager
def observed(step: "Step", batch: Sequence["Event"]) -> Iterator[None]:
    """Around a step's handling of a batch."""
    with (
        logs.about([event.order_id for event in batch]),
        tracing.spans(step.name, step.service, batch),
        metrics.counted(step.name, batch),
    ):
        yield


@contextmanager
def relayed(service: str, events: Sequence["Event"]) -> Iterator[None]:
    """Around a relay's publication of a portion of an outbox."""
    with tracing.spans(f"{service}.relay", service, events), metrics.relayed(service, events):
        yield

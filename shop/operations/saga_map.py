"""Renders `shop/saga.py`: as a table for the terminal, as a diagram for docs/saga.md."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from sagas.events import EventTypes
from sagas.registry import STEPS
from sagas.saga import Saga
from shop.contracts.events import BACKWARD
from shop.saga import CUSTOMER, ORDER


def as_table() -> Table:
    """Which step hears which event; the way back is red."""
    table = Table("event", "heard by", title="The saga", title_justify="left", caption="… deferrable")
    for event, steps in ORDER.heard_by.items():
        style = "red" if event in BACKWARD else ""
        heard_by = "\n".join(f"{step} …" if ORDER.steps[step].deferrable else step for step in steps)
        table.add_row(Text(event.__name__, style=style), Text(heard_by, style=style))
    return table


def as_markdown() -> str:
    """The page docs/saga.md."""
    return f"""# The saga

Made from `shop/saga.py` by `manage.py saga --mermaid`; do not edit.

Solid arrows lead to the step that hears an event, dotted ones to the event that may follow. Steps that only write
down what happened (`orders.mark_*`, `notifications.notify`) are in the table, not in the picture. Deferrable steps
({_deferrable()}) hear small batches a moment later, merged.

```mermaid
{_mermaid()}
```

| event | heard by |
|---|---|
{_rows(ORDER)}

| effect | undone by |
|---|---|
{_pairs({name: role.undone_by for name, role in ORDER.steps.items() if role.undone_by})}

| timer | every |
|---|---|
{_timers(ORDER)}

A customer who leaves is erased by a saga of its own, whose key is the user:

| event | heard by |
|---|---|
{_rows(CUSTOMER)}

| timer | every |
|---|---|
{_timers(CUSTOMER)}
"""


def _mermaid() -> str:
    drawn = {name for name, role in ORDER.steps.items() if role.kind != "record"} | {
        "orders.complete_order", "orders.cancel_order", "orders.resume_order"
    }  # fmt: skip
    hears = [
        f'    {event.__name__}(["{event.__name__}"]) --> {_id(step)}["{step}"]'
        for event, steps in ORDER.heard_by.items()
        for step in steps
        if step in drawn
    ]
    emits = [f"    {_id(step)} -.-> {event.__name__}" for step, events in _emissions().items() for event in events]
    backward = ",".join(event.__name__ for event in ORDER.heard_by if event in BACKWARD)
    styles = ["    classDef backward stroke:#c00,color:#c00", f"    class {backward} backward"]
    return "\n".join(["flowchart LR", *hears, *emits, *styles])


def _emissions() -> dict[str, EventTypes]:
    return {name: step.emits for name, step in sorted(STEPS.items()) if step.emits}


def _deferrable() -> str:
    return ", ".join(f"`{step}`" for step, role in ORDER.steps.items() if role.deferrable)


def _rows(saga: Saga) -> str:
    return "\n".join(
        f"| {event.__name__} | {', '.join(f'`{step}`' for step in steps)} |" for event, steps in saga.heard_by.items()
    )


def _timers(saga: Saga) -> str:
    return _pairs({task: f"{seconds:g} s" for task, seconds in saga.timers.items()})


def _pairs(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"| `{left}` | {right} |" for left, right in pairs.items())


def _id(step: str) -> str:
    return step.replace(".", "_")

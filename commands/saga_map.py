"""Renders `shop/saga.py` and `shop/return_saga.py`: as tables for the terminal, as diagrams for docs/saga.md."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from sagas.events import Event, EventTypes
from sagas.registry import STEPS
from sagas.saga import Saga
from shop.contracts import events, return_events
from shop.return_saga import RETURN
from shop.saga import CUSTOMER, ORDER

BACKWARD: set[type[Event]] = {*events.BACKWARD, *return_events.BACKWARD}
TURN = "orders.resume_order"  # emits nothing, and is drawn all the same: the way back is taken no further


def as_table(saga: Saga) -> Table:
    """Which step hears which event; the way back is red."""
    title = f"The saga of {'an order' if saga is ORDER else 'a return'}"
    table = Table("event", "heard by", title=title, title_justify="left", caption="… deferrable")
    for event, steps in saga.heard_by.items():
        style = "red" if event in BACKWARD else ""
        heard_by = "\n".join(f"{step} …" if saga.steps[step].deferrable else step for step in steps)
        table.add_row(Text(event.__name__, style=style), Text(heard_by, style=style))
    return table


def as_markdown() -> str:
    """The page docs/saga.md."""
    return f"""# The sagas

Made from `shop/saga.py` and `shop/return_saga.py` by `manage.py saga --mermaid`; do not edit.

Solid arrows lead to the step that hears an event, dotted ones to the event that may follow. Steps that only write
down what happened, and emit nothing, are in the tables, not in the pictures. Deferrable steps
({_deferrable()}) hear small batches a moment later, merged.

## Of an order

```mermaid
{_mermaid(ORDER)}
```

| event | heard by |
|---|---|
{_rows(ORDER)}

| effect | undone by |
|---|---|
{_undone(ORDER)}

| timer | every |
|---|---|
{_timers(ORDER)}

## Of a return

Its key is the return. The money goes back by the saga of the order: `orders.settle_return` asks for
OrderRefundRequested, and `orders.note_refund` ends the return, or leaves it to staff.

```mermaid
{_mermaid(RETURN)}
```

| event | heard by |
|---|---|
{_rows(RETURN)}

| effect | undone by |
|---|---|
{_undone(RETURN)}

| timer | every |
|---|---|
{_timers(RETURN)}

## Of a customer

A customer who leaves is erased by a saga of its own, whose key is the user:

| event | heard by |
|---|---|
{_rows(CUSTOMER)}

| timer | every |
|---|---|
{_timers(CUSTOMER)}
"""


def _mermaid(saga: Saga) -> str:
    drawn = {name for name, role in saga.steps.items() if role.kind != "record" or STEPS[name].emits or name == TURN}
    hears = [
        f'    {event.__name__}(["{event.__name__}"]) --> {_id(step)}["{step}"]'
        for event, steps in saga.heard_by.items()
        for step in steps
        if step in drawn
    ]
    emits = [
        f"    {_id(step)} -.-> {event.__name__}"
        for step, events in _emissions().items()
        if step in saga.steps
        for event in events
    ]
    backward = ",".join(event.__name__ for event in saga.heard_by if event in BACKWARD)
    styles = ["    classDef backward stroke:#c00,color:#c00", f"    class {backward} backward"]
    return "\n".join(["flowchart LR", *hears, *emits, *styles])


def _emissions() -> dict[str, EventTypes]:
    return {name: step.emits for name, step in sorted(STEPS.items()) if step.emits}


def _deferrable() -> str:
    return ", ".join(f"`{step}`" for saga in (ORDER, RETURN) for step, role in saga.steps.items() if role.deferrable)


def _undone(saga: Saga) -> str:
    return _pairs({name: role.undone_by for name, role in saga.steps.items() if role.undone_by})


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

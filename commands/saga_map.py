"""Renders all sagas: as tables for the terminal, as diagrams for docs/saga.md."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from sagas.conf import choreography
from sagas.events import EventTypes
from sagas.registry import STEPS
from sagas.saga import Saga

TURN = "orders.resume_order"  # emits nothing, and is drawn all the same: the way back is taken no further
# What is to be known about a saga besides its tables.
NOTES = {
    "return": """
Its key is the return. The money goes back by the saga of the order: `orders.settle_return` asks for
OrderRefundRequested, and `orders.note_refund` ends the return, or leaves it to staff.
""",
    "customer": """
A customer who leaves is erased by a saga of its own, whose key is the user.
""",
}


def as_table(saga: Saga) -> Table:
    """Which step hears which event; the way back is red."""
    table = Table(
        "event", "heard by", title=f"The saga of {_a(saga.name)}", title_justify="left", caption="… deferrable"
    )
    for event, steps in saga.heard_by.items():
        style = "red" if event in saga.backward else ""
        heard_by = "\n".join(f"{step} …" if saga.steps[step].deferrable else step for step in steps)
        table.add_row(Text(event.__name__, style=style), Text(heard_by, style=style))
    return table


def as_markdown() -> str:
    """The page docs/saga.md."""
    sagas = choreography().sagas
    chapters = "\n".join(map(_chapter, sagas))
    deferrable = (f"`{step}`" for saga in sagas for step, role in saga.steps.items() if role.deferrable)
    return f"""# The sagas

Made from `shop/saga.py` and what it imports by `manage.py saga --mermaid`; do not edit.

Solid arrows lead to the step that hears an event, dotted ones to the event that may follow. Steps that only write
down what happened, and emit nothing, are in the tables, not in the pictures. Deferrable steps
({", ".join(deferrable)}) hear small batches a moment later, merged.

{chapters}"""


def _chapter(saga: Saga) -> str:
    """A saga's picture, unless there is nothing to draw, and its tables."""
    picture = _mermaid(saga)
    parts = [f"## Of {_a(saga.name)}\n", NOTES.get(saga.name, "").lstrip("\n")]
    parts += [f"```mermaid\n{picture}\n```\n"] if picture else []
    parts += [
        f"| {left} | {right} |\n|---|---|\n{rows}\n"
        for left, right, rows in (
            ("event", "heard by", _rows(saga)),
            ("effect", "undone by", _pairs({name: role.undone_by for name, role in saga.steps.items()})),
            ("timer", "every", _pairs({task: f"{seconds:g} s" for task, seconds in saga.timers.items()})),
        )
        if rows
    ]
    return "\n".join(part for part in parts if part)


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _mermaid(saga: Saga) -> str:
    """Empty where no step does more than write down what happened."""
    drawn = {name for name, role in saga.steps.items() if role.kind != "record" or STEPS[name].emits or name == TURN}
    if not drawn:
        return ""
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
    backward = ",".join(event.__name__ for event in saga.heard_by if event in saga.backward)
    styles = ["    classDef backward stroke:#c00,color:#c00", f"    class {backward} backward"]
    return "\n".join(["flowchart LR", *hears, *emits, *(styles if backward else ())])


def _emissions() -> dict[str, EventTypes]:
    return {name: step.emits for name, step in sorted(STEPS.items()) if step.emits}


def _rows(saga: Saga) -> str:
    return "\n".join(
        f"| {event.__name__} | {', '.join(f'`{step}`' for step in steps)} |" for event, steps in saga.heard_by.items()
    )


def _pairs(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"| `{left}` | {right} |" for left, right in pairs.items() if right)


def _id(step: str) -> str:
    return step.replace(".", "_")

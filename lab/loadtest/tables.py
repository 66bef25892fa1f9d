"""The results as tables for the terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lab.loadtest.compare import Row

PERCENTILES = ("p50", "p95", "p99", "max")
MARKS = {True: Text("✓", "green"), False: Text("✗", "bold red"), None: Text("?", "yellow")}
UNTIL = {
    "answered": "answered",
    "paid": "paid",
    "completed": "completed",
    "cancelled": "refused or undone",
}


def show(console: Console, found: Mapping[str, Any]) -> None:
    """Print everything but the series."""
    console.print(f"[bold]{found['title']}[/], {found['where']}" + (" (interrupted)" if found["interrupted"] else ""))
    console.print(_rates(found), soft_wrap=True)
    if found["steps"]:
        console.print(steps(found))
        console.print(knee(found))
    console.print(latencies(found))
    for what, then in found["drift"].items():
        console.print(f"{what}: {then['first']:g} in the first fifth, {then['last']:g} in the last", soft_wrap=True)
    for what, counts in (
        ("answers", found["answers"]), ("orders ended as", found["endings"]), ("cancellations", found["cancellations"])
    ):  # fmt: skip
        if counts:
            told = ", ".join(f"{count:,} × {one}" for one, count in counts.items())
            console.print(f"{what}: {told}", soft_wrap=True, highlight=False, markup=False)
    for one in found["findings"]:
        line = Text.assemble(MARKS[one["good"]], f" {one['what']}: {one['detail']}")
        console.print(line, soft_wrap=True)
    console.print(client(found), soft_wrap=True)
    if found["faults"]:
        console.print(switched_on(found), style="yellow", soft_wrap=True)


def _rates(found: Mapping[str, Any]) -> str:
    sent, rates = f"{found['orders']:,} orders sent", found["rates"]
    if found["profile"] == "flash-sale":
        return f"{sent} at once"
    return (
        f"{sent} in {found['seconds']:.1f} s: {rates['sent']:g}/s, {rates['accepted']:g}/s accepted, "
        f"{rates['ended']:g}/s ended"
    )


def latencies(found: Mapping[str, Any]) -> Table:
    numbers = (Column(one, justify="right") for one in ("orders", *PERCENTILES))
    table = Table("from when it was due until", *numbers, caption="seconds", caption_justify="right")
    for row in latency_rows(found):
        table.add_row(*row)
    return table


def latency_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return rows of: until what, of how many orders, and the percentiles in seconds."""
    return [
        (
            f"{title} (a sample)" if mark == "paid" and found["sampled"] else title,
            f"{of_it['count']:,}",
            *(f"{of_it[one]:.3f}" for one in PERCENTILES),
        )
        for mark, title in UNTIL.items()
        for of_it in [found["latency"][mark]]
        if of_it["count"]
    ]


def steps(found: Mapping[str, Any]) -> Table:
    numbers = (Column(one, justify="right") for one in ("orders/s", "sent/s", "answered p95", "paid p95"))
    table = Table(*numbers, "held")
    for one in found["steps"]:
        held = Text(one["whyNot"], "yellow") if one["whyNot"] else MARKS[True]
        told = (f"{one[mark]['p95']:.3f} s" if one[mark]["count"] else "–" for mark in ("answered", "paid"))
        table.add_row(f"{one['rate']:g}", f"{one['sent']:g}", *told, held)
    return table


def knee(found: Mapping[str, Any]) -> str:
    """Describe the result of a ramp in a sentence."""
    if found["knee"] is None:
        return "The knee: below the lowest rate. Begin lower, with --rate."
    too_much = next((one for one in found["steps"] if one["whyNot"]), None)
    if not too_much:
        return f"The knee: not reached; {found['knee']:g} orders/s were held."
    return f"The knee: {found['knee']:g} orders/s were held, {too_much['rate']:g} were not ({too_much['whyNot']})."


def client(found: Mapping[str, Any]) -> Text:
    """Describe whether the client kept up."""
    of_it = found["client"]
    if of_it["warnings"]:
        return Text(f"Take the figures for what they are: {'; '.join(of_it['warnings'])}.", "yellow")
    busiest, late = 100 * of_it["busiest"], 1000 * of_it["late"]["p99"]
    return Text(f"The client kept up: at most {busiest:.0f} % of a core, orders {late:.0f} ms late at p99.", "dim")


def switched_on(found: Mapping[str, Any]) -> str:
    """Warn that fault switches were on during the measurement."""
    told = ", ".join(f"{name} {value:g}" for name, value in found["faults"].items())
    return f"Fault switches were on, and what was measured is theirs, too: {told}."


def comparison(rows: Iterable[Row], differences: Iterable[str]) -> Table:
    """Return a table with two runs side by side."""
    caption = f"Not the same: {'; '.join(differences)}." if differences else "Changes below 10 % or 5 ms say nothing."
    numbers = (Column(one, justify="right") for one in ("earlier", "now", "change"))
    table = Table("", *numbers, title="Beside the earlier run", caption=caption)
    for row in rows:
        style = {True: "green", False: "red", None: ""}[row.better]
        table.add_row(row.what, figure(row.before), figure(row.after), Text(row.change, style))
    return table


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,g}"

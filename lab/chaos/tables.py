"""The summary of a run, as tables in the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.chaos.verdict import Verdict


def show(console: Console, verdict: Verdict) -> None:
    """Print the summary as tables."""
    figures = verdict.figures()
    recovery = Table("fault", "fired", "recovery, median", "longest", title="Faults")
    for kind, row in figures["recovery"].items():
        recovery.add_row(kind, f"{row['fired']}", f"{row['median']:.1f} s", f"{row['max']:.1f} s")
    console.print(recovery)
    console.print(
        "Recovery: from the end of the fault until all orders placed before have ended or are with the carrier, and "
        "one placed after it is paid and on its way (after beat's: completed).",
        style="dim",
    )
    table = Table("what", "", title=f"Chaos, seed {verdict.seed}")
    for what, count in verdict.wrong.items():
        table.add_row(what, f"[green]{count}[/]" if not count else f"[bold red]{count}[/]")
    table.add_section()
    for title, name in (
        ("operations", "operations"), ("unknown because of", "unknownBecause"), ("ended as", "statuses"),
        ("kinds of orders", "kinds"),
    ):  # fmt: skip
        table.add_row(title, escape(", ".join(f"{count} {what}" for what, count in figures[name].items()) or "–"))
    table.add_section()
    table.add_row("orders per second", f"{figures['ordersPerSecond']} for {figures['seconds']} s")
    for title, name in (("answer to POST /orders", "answer"), ("from order to its end", "orderToEnd")):
        table.add_row(title, ", ".join(f"{which} {value:.2f} s" for which, value in figures[name].items()))
    table.add_row("last fault until rest", f"{figures['secondsToRest']} s")
    table.add_row("processes started again", f"{verdict.restarts}")
    dead = ", ".join(f"{count} {step}" for step, count in verdict.dead_letters.items())
    table.add_row("dead letters, resolved", escape(dead or "0"))
    console.print(table)
    for line in verdict.findings[:30]:
        console.print(line, style="red", markup=False, soft_wrap=True)
    console.print("[green]Nothing lost, nothing done twice.[/]" if verdict.good else "[bold red]Chaos won.[/]")

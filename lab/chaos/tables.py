"""The summary of a run, as tables in the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.chaos.verdict import Verdict
from shop.money import money

CURRENCY = "KRW"  # of the products


def show(console: Console, verdict: Verdict) -> None:
    """Print the summary as tables."""
    figures = verdict.figures()
    recovery = Table("fault", "fired", "recovery, median", "longest", title="Faults")
    for kind, row in figures["recovery"].items():
        recovery.add_row(escape(kind), f"{row['fired']}", f"{row['median']:.1f} s", f"{row['max']:.1f} s")
    console.print(recovery)
    console.print(
        "Recovery: from the end of the fault until all orders placed before have ended or are with the carrier, and "
        "one placed after it is paid and on its way (after beat's: completed).",
        style="dim",
    )
    table = Table("what", "", title=f"Chaos, seed {verdict.seed}")
    for what, count in verdict.wrong.items():
        table.add_row(escape(what), f"[green]{count}[/]" if not count else f"[bold red]{count}[/]")
    table.add_section()
    for title, name in (
        ("operations", "operations"), ("unknown because of", "unknownBecause"), ("ended as", "statuses"),
        ("returns ended as", "returns"), ("kinds of orders", "kinds"),
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
    if verdict.books:
        _show_books(console, verdict)
    for line in verdict.findings[:30]:
        console.print(line, style="red", markup=False, soft_wrap=True)
    console.print("[green]Nothing lost, nothing done twice.[/]" if verdict.good else "[bold red]Chaos won.[/]")


def _show_books(console: Console, verdict: Verdict) -> None:
    table = Table("", *(escape(one.gateway) for one in verdict.books), title="The providers' books")
    table.add_row("movements", *(f"{one.movements}" for one in verdict.books))
    for what in ("captured", "refunded", "kept", "our ledger", "held"):
        sums = (one.kept_here if what == "our ledger" else getattr(one, what) for one in verdict.books)
        table.add_row(what, *(money(amount, CURRENCY) for amount in sums))
    counts = (len(one.differences) for one in verdict.books)
    table.add_row("differences", *(f"[bold red]{count}[/]" if count else "[green]0[/]" for count in counts))
    console.print(table)

"""The run as one self-contained HTML page: what was placed and ended, how long it took, what failed when."""

import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lab import charts
from lab.chaos.faults import Fired
from lab.chaos.verdict import Verdict
from lab.measures import percentiles


def write_report(path: Path, verdict: Verdict) -> None:
    """Draw a verdict as a page."""
    path.write_text(page(verdict), encoding="utf-8")


def page(verdict: Verdict) -> str:
    figures = verdict.figures()
    start = min((began for began, _ in verdict.placed), default=0.0)
    placed = [began - start for began, _ in verdict.placed]
    ended = [at - start for _, at in verdict.endings]
    end = max([*placed, *ended, *(one.ended - start for one in verdict.faults), 1.0])
    width = charts.bucket_width(end)
    marks = [
        (one.began - start, one.ended - start, f"{one.number}", f"{one.number} {one.kind}") for one in verdict.faults
    ]
    answers = [(began - start, done - began) for began, done in verdict.placed]
    lives = [(began - start, done - began) for began, done in verdict.endings]
    throughput = {
        "placed": charts.per_second(placed, width, end),
        "ended": charts.per_second(ended, width, end),
    }
    answered = {
        "median": charts.bucketed(answers, width, statistics.median),
        "p95": charts.bucketed(answers, width, lambda values: percentiles(values)["p95"]),
    }
    lived = {
        "median": charts.bucketed(lives, width, statistics.median),
        "longest": charts.bucketed(lives, width, max),
    }
    word = "Nothing was lost, nothing done twice." if verdict.good else "Something is wrong."
    orders, answer, life = figures["operations"], figures["answer"], figures["orderToEnd"]
    body = f"""<p class="{"good" if verdict.good else "bad"}">{word} {len(verdict.endings):,} orders ended,
{sum(not one.failure for one in verdict.faults)} faults, {verdict.restarts} processes started again.</p>
<ul class="tiles">{"".join(charts.tile(str(count), what, well=not count) for what, count in verdict.wrong.items())}</ul>
{_findings(verdict.findings)}
<h2>Orders per second</h2>
<p>{figures["ordersPerSecond"]} orders per second for {figures["seconds"]} s; at rest {figures["secondsToRest"]} s after
the last fault. Shaded: faults, by their number below; the length is that of the fault, not of the recovery.</p>
{charts.over_time("orders per second", throughput, end=end, marks=marks)}
<h2>Answer to POST /orders</h2>
<p>As the client saw it, retries included: median {answer["p50"]:.2f} s, p95 {answer["p95"]:.2f} s, longest
{answer["max"]:.1f} s.</p>
{charts.over_time("seconds, by when it was sent", answered, end=end, marks=marks)}
<h2>From order to its end</h2>
<p>Completed or cancelled, the carrier's time included: median {life["p50"]:.1f} s, p95 {life["p95"]:.1f} s, longest
{life["max"]:.1f} s.</p>
{charts.over_time("seconds, by when it was placed", lived, end=end, marks=marks)}
<h2>Faults</h2>
<p>Recovery: from the end of the fault until all orders placed before have ended or are with the carrier, and one placed
after it is paid and on its way (after beat's: completed).</p>
<table><tr><th class="n">#</th><th class="n">at</th><th>fault</th><th>what was seen of it</th><th class="n">took</th>
<th class="n">recovery</th></tr>{"".join(_fault(one, start) for one in verdict.faults)}</table>
<h2>The load</h2>
<table>{charts.row("operations", orders)}{charts.row("unknown because of", figures["unknownBecause"])}
{charts.row("ended as", figures["statuses"])}{charts.row("kinds", figures["kinds"])}</table>"""
    return charts.page(f"Chaos, seed {verdict.seed}", body)


def _findings(findings: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li class=bad>{escape(line)}</li>' for line in findings[:100])}</ul>" if findings else ""


def _fault(one: Fired, start: float) -> str:
    seen = f'<span class="bad">{escape(one.failure)}</span>' if one.failure else escape(one.proof)
    recovery = "–" if one.recovered_after is None else f"{one.recovered_after:.1f} s"
    return (
        f'<tr><td class="n">{one.number}</td><td class="n">{one.began - start:.1f} s</td><td>{escape(one.kind)}</td>'
        f'<td>{seen}</td><td class="n">{one.ended - one.began:.1f} s</td><td class="n">{recovery}</td></tr>'
    )

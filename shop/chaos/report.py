"""The run as one HTML page that needs nothing else: what was placed and ended, how long it took, what failed when."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from shop.chaos.faults import Fired
from shop.chaos.verdict import Verdict, percentiles

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1000, 240, 56, 16, 34, 26
LARGEST_BUCKETS = 150  # points on a line
LONGEST_GAP = 0.05  # of the run, across which a line is drawn

Point = tuple[float, float]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 1040px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; } p { margin: .3rem 0; }
.good { color: #17693a; } .bad { color: #b3261e; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #e3e7ec; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
table.load th { width: 10rem; }
ul.zero { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .5rem; }
ul.zero li { border: 1px solid #dfe4ea; border-radius: 6px; padding: .35rem .8rem; }
ul.zero b { font-size: 1.25rem; display: block; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #59636f; }
svg .fault { fill: #d9480f; fill-opacity: .13; } svg .mark { fill: #b5400f; font-size: 10px; }
svg .grid { stroke: #e3e7ec; } svg .line { fill: none; stroke-width: 1.6; stroke-linecap: round; }
"""


def write_report(path: Path, verdict: Verdict) -> None:
    """Draw a verdict as a page."""
    path.write_text(page(verdict), encoding="utf-8")


def page(verdict: Verdict) -> str:
    figures = verdict.figures()
    start = min((began for began, _ in verdict.placed), default=0.0)
    placed = [began - start for began, _ in verdict.placed]
    ended = [at - start for _, at in verdict.endings]
    end = max([*placed, *ended, *(one.ended - start for one in verdict.faults), 1.0])
    width = max(1.0, round(end / LARGEST_BUCKETS))
    answers = [(began - start, done - began) for began, done in verdict.placed]
    lives = [(began - start, done - began) for began, done in verdict.endings]
    throughput = [
        ("placed", "#1c64b8", _rate(placed, width, end)),
        ("ended", "#17803d", _rate(ended, width, end)),
    ]
    answered = [
        ("median", "#1c64b8", _bucketed(answers, width, statistics.median)),
        ("p95", "#8a3ffc", _bucketed(answers, width, lambda values: percentiles(values)["p95"])),
    ]
    lived = [
        ("median", "#17803d", _bucketed(lives, width, statistics.median)),
        ("longest", "#8a3ffc", _bucketed(lives, width, max)),
    ]
    word = "Nothing was lost, nothing done twice." if verdict.good else "Something is wrong."
    orders, answer, life = figures["operations"], figures["answer"], figures["orderToEnd"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Chaos, seed {verdict.seed}</title><style>{STYLE}</style></head><body>
<h1>Chaos, seed {verdict.seed}</h1>
<p class="{"good" if verdict.good else "bad"}">{word} {len(verdict.endings):,} orders ended,
{sum(not one.failure for one in verdict.faults)} faults, {verdict.restarts} processes started again.</p>
<ul class="zero">{"".join(_count(what, count) for what, count in verdict.wrong.items())}</ul>
{_findings(verdict.findings)}
<h2>Orders per second</h2>
<p>{figures["ordersPerSecond"]} orders per second for {figures["seconds"]} s; at rest {figures["secondsToRest"]} s after
the last fault. Shaded: faults, by their number below; the length is that of the fault, not of the recovery.</p>
{_chart("orders per second", throughput, verdict.faults, start, end)}
<h2>Answer to POST /orders</h2>
<p>As the client saw it, retries included: median {answer["p50"]:.2f} s, p95 {answer["p95"]:.2f} s, longest
{answer["max"]:.1f} s.</p>
{_chart("seconds, by when it was sent", answered, verdict.faults, start, end)}
<h2>From order to its end</h2>
<p>Completed or cancelled, the carrier's time included: median {life["p50"]:.1f} s, p95 {life["p95"]:.1f} s, longest
{life["max"]:.1f} s.</p>
{_chart("seconds, by when it was placed", lived, verdict.faults, start, end)}
<h2>Faults</h2>
<p>Recovery: from the end of the fault until all orders placed before have ended or are with the carrier, and one placed
after it is paid and on its way (after beat's: completed).</p>
<table><tr><th class="n">#</th><th class="n">at</th><th>fault</th><th>what was seen of it</th><th class="n">took</th>
<th class="n">recovery</th></tr>{"".join(_fault(one, start) for one in verdict.faults)}</table>
<h2>The load</h2>
<table class="load">{_row("operations", orders)}{_row("unknown because of", figures["unknownBecause"])}
{_row("ended as", figures["statuses"])}{_row("kinds", figures["kinds"])}</table>
</body></html>
"""


def _count(what: str, count: int) -> str:
    return f'<li class="{"bad" if count else "good"}"><b>{count}</b>{escape(what)}</li>'


def _findings(findings: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li class=bad>{escape(line)}</li>' for line in findings[:100])}</ul>" if findings else ""


def _row(title: str, counts: dict[str, int]) -> str:
    """A row, if there is something to count."""
    if not counts:
        return ""
    return f"<tr><th>{title}</th><td>{escape(', '.join(f'{n:,} {what}' for what, n in counts.items()))}</td></tr>"


def _fault(one: Fired, start: float) -> str:
    seen = f'<span class="bad">{escape(one.failure)}</span>' if one.failure else escape(one.proof)
    recovery = "–" if one.recovered_after is None else f"{one.recovered_after:.1f} s"
    return (
        f'<tr><td class="n">{one.number}</td><td class="n">{one.began - start:.1f} s</td><td>{escape(one.kind)}</td>'
        f'<td>{seen}</td><td class="n">{one.ended - one.began:.1f} s</td><td class="n">{recovery}</td></tr>'
    )


# --- Charts -----------------------------------------------------------------------------------------------------------
def _rate(times: Iterable[float], width: float, end: float) -> list[Point]:
    """How many per second, for each bucket of `width` seconds."""
    counts = [0] * (int(end / width) + 1)
    for time in times:
        counts[max(0, int(time / width))] += 1
    return [((place + 0.5) * width, count / width) for place, count in enumerate(counts)]


def _bucketed(samples: Iterable[Point], width: float, of: Callable[[list[float]], float]) -> list[Point]:
    """A statistic of the samples in each bucket of `width` seconds that has some."""
    buckets: dict[int, list[float]] = {}
    for time, value in samples:
        buckets.setdefault(max(0, int(time / width)), []).append(value)
    return [((place + 0.5) * width, of(values)) for place, values in sorted(buckets.items())]


def _chart(
    title: str, lines: Sequence[tuple[str, str, list[Point]]], faults: Sequence[Fired], start: float, end: float
) -> str:
    top = _round_up(max((value for _, _, points in lines for _, value in points), default=1.0))

    def x(time: float) -> float:
        return LEFT + time / end * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for one in faults:
        left, right = x(one.began - start), x(one.ended - start)
        parts.append(
            f'<rect class="fault" x="{left:.1f}" y="{TOP}" width="{max(2.0, right - left):.1f}"'
            f' height="{HEIGHT - TOP - BOTTOM}"><title>{one.number} {escape(one.kind)}</title></rect>'
            f'<text class="mark" x="{left:.1f}" y="{TOP - 3}">{one.number}</text>'
        )
    for share in (0, 0.5, 1):
        height = y(top * share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{top * share:g}</text>')
    step = _round_up(end / 8)
    parts += [
        f'<text x="{x(number * step):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{number * step:g} s</text>'
        for number in range(int(end / step) + 1)
    ]
    for place, (name, colour, points) in enumerate(lines):
        for stretch in _stretches(points, end * LONGEST_GAP):
            stretch = stretch if len(stretch) > 1 else stretch * 2  # of no length, and with round ends: a dot
            path = " ".join(f"{x(time):.1f},{y(value):.1f}" for time, value in stretch)
            parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        parts.append(f'<text x="{LEFT + 90 * place}" y="14" style="fill:{colour}">— {escape(name)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="14" text-anchor="end">{escape(title)}</text></svg>')
    return "".join(parts)


def _stretches(points: Sequence[Point], longest_gap: float) -> Iterator[list[Point]]:
    """The points in parts between which there is nothing to draw a line through."""
    part: list[Point] = []
    for point in points:
        if part and point[0] - part[-1][0] > longest_gap:
            yield part
            part = []
        part.append(point)
    yield part


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    magnitude = 10.0**-3
    while True:
        for factor in (1, 2, 5):
            if magnitude * factor >= value:
                return magnitude * factor
        magnitude *= 10

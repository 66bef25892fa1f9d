"""Small hand-made SVG plots: bars, stacked bars, curves on logarithmic axes, lines over time; and a page for them."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

WIDTH, LEFT, RIGHT, ROW = 760, 190, 110, 34
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#9c6b4e", "#97bbf5")
QUARTERED = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8)  # their quarters are short numbers
TICK, MARKED = "#8884", "#d9480f22"
BUCKETS = 150  # points on a line over time, at most
LONGEST_GAP = 0.05  # the share of the time across which a line is drawn; or, if longer,
POINTS_MISSED = 3  # this many times the usual distance between points

Point = tuple[float, float]
Mark = tuple[float, float, str, str]  # from and to in seconds, a short label, what it is

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1040px; margin: 2rem auto; padding: 0 1rem;
       color: light-dark(#1c2430, #dde3ea); background: light-dark(#fff, #14181d); }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; } p { margin: .3rem 0; }
.good { color: light-dark(#17693a, #63c98a); } .bad { color: light-dark(#b3261e, #ff8a80); font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
ul.tiles { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .5rem; }
ul.tiles li { border: 1px solid #8884; border-radius: 6px; padding: .35rem .8rem; }
ul.tiles b { font-size: 1.25rem; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 0 1rem; }
svg { width: 100%; height: auto; } svg[viewBox^="0 0 760 "] { max-width: 760px; }
"""


def bars(title: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """Draw a bar for each (name, median, lowest, highest), with the range as a line."""
    scale = (WIDTH - LEFT - RIGHT) / max(high for *_, high in rows)
    parts = []
    for number, (name, median, low, high) in enumerate(rows):
        y = 46 + number * ROW
        parts += [
            text(LEFT - 8, y + 15, name, "end"),
            f'<rect x="{LEFT}" y="{y}" width="{median * scale:.1f}" height="20" fill="{COLOURS[0]}"/>',
            line(LEFT + low * scale, y + 10, LEFT + high * scale, y + 10, "currentColor"),
            text(LEFT + high * scale + 8, y + 15, figure(median)),
        ]
    return svg(title, 56 + len(rows) * ROW, parts)


def stacks(title: str, rows: Sequence[tuple[str, Mapping[str, float]]], groups: Sequence[str]) -> str:
    """Draw a bar for each name, stacked from its groups."""
    totals = [sum(values.get(group, 0) for group in groups) for _, values in rows]
    scale = (WIDTH - LEFT - RIGHT) / max(totals)
    parts = []
    for number, ((name, values), total) in enumerate(zip(rows, totals, strict=True)):
        x, y = float(LEFT), 46 + number * ROW
        parts.append(text(LEFT - 8, y + 15, name, "end"))
        for colour, group in zip(COLOURS, groups, strict=False):
            width = values.get(group, 0) * scale
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="20" fill="{colour}"/>')
            x += width
        parts.append(text(x + 8, y + 15, figure(total)))
    bottom = 46 + len(rows) * ROW
    return svg(title, bottom + 34, [*parts, *legend(groups, bottom + 14)])


def curves(title: str, lines: Mapping[str, Sequence[Point]], *, zero: bool = False, named: Sequence[float] = ()) -> str:
    """Draw a curve for each name through its (x, y), both logarithmic; with `zero`, y is linear and begins at zero.

    `named` are the values of x that the axis labels, instead of round ones.
    """
    points = [point for line in lines.values() for point in line]
    left, top, width, height = 60, 46, WIDTH - 90, 300
    low_x, high_x = edge(log10(x) for x, _ in points)
    low_y, high_y = (0.0, 1.15 * max(y for _, y in points)) if zero else edge(log10(y) for _, y in points)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (log10(x) - low_x) / (high_x - low_x)
        up = ((y if zero else log10(y)) - low_y) / (high_y - low_y)
        return left + across * width, top + (1 - up) * height

    parts = []
    for tick in named or ticks(low_x, high_x):
        x, _ = at(tick, 1 if zero else 10**low_y)
        parts += [line(x, top, x, top + height, TICK), text(x, top + height + 18, figure(tick), "middle")]
    for step in [high_y * part / 4 for part in range(5)] if zero else ticks(low_y, high_y):
        _, y = at(10**low_x, step)
        parts += [line(left, y, left + width, y, TICK), text(left - 6, y + 4, figure(step), "end")]
    for colour, found in zip(COLOURS, lines.values(), strict=False):
        drawn = [at(*point) for point in sorted(found)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in drawn]
    return svg(title, top + height + 62, [*parts, *legend(tuple(lines), top + height + 44)])


def ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten between two logarithms, with 2 and 5 times these if the range is short."""
    factors = (1, 2, 5) if high - low < 2 else (1,)
    found = [factor * 10.0**power for power in range(floor(low), ceil(high) + 1) for factor in factors]
    return [one for one in found if low <= log10(one) <= high]


def over_time(
    title: str, lines: Mapping[str, Sequence[Point]], *, end: float, marks: Sequence[Mark] = (), width: int = 1000,
    up_to: float | None = None,
) -> str:  # fmt: skip
    """Draw a line for each name through its (seconds, value), from zero to `up_to`; `marks` are spans of time."""
    left, right, top, height = 56, 16, 48, 180
    if up_to is None:
        up_to = max((value for points in lines.values() for _, value in points), default=1.0)
    highest = next_round(up_to, QUARTERED)
    bottom = top + height

    def x(time: float) -> float:
        return left + min(time, end) / end * (width - left - right)

    def y(value: float) -> float:
        return bottom - value / highest * height

    parts = []
    for began, ended, label, what in marks:
        wide = max(2.0, x(ended) - x(began))
        parts.append(
            f'<rect class="marked" x="{x(began):.1f}" y="{top}" width="{wide:.1f}" height="{height}" fill="{MARKED}">'
            f"<title>{escape(what)}</title></rect>"
        )
        parts.append(text(x(began), top - 3, label))
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(line(left, y(highest * share), width - right, y(highest * share), TICK))
        parts.append(text(left - 6, y(highest * share) + 4, f"{highest * share:g}", "end"))
    unit, name = (60, "min") if end >= 600 else (1, "s")
    step = next_round(end / unit / 8)
    parts += [
        text(x(number * step * unit), bottom + 18, f"{number * step:g} {name}", "middle")
        for number in range(int(end / unit / step) + 1)
    ]
    for colour, points in zip(COLOURS, lines.values(), strict=False):
        for stretch in stretches(points, max(end * LONGEST_GAP, POINTS_MISSED * usual_distance(points))):
            stretch = stretch if len(stretch) > 1 else stretch * 2  # a line of no length with round ends is a dot
            path = " ".join(f"{x(time):.1f},{y(value):.1f}" for time, value in stretch)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linecap="round"/>'
            )
    return svg(title, bottom + 54, [*parts, *legend(tuple(lines), bottom + 42)], width=width)


def usual_distance(points: Sequence[Point]) -> float:
    """Return the median of the seconds between consecutive points."""
    return statistics.median(after[0] - before[0] for before, after in pairwise(points)) if len(points) > 1 else 0.0


def stretches(points: Sequence[Point], longest_gap: float) -> Iterator[list[Point]]:
    """Split the points at gaps across which no line is drawn."""
    part: list[Point] = []
    for point in points:
        if part and point[0] - part[-1][0] > longest_gap:
            yield part
            part = []
        part.append(point)
    if part:
        yield part


def bucket_width(end: float) -> float:
    """Return the width in seconds that keeps a line short of points; a whole number unless the line is short."""
    return next_round(3 * end / BUCKETS) if end < 15 else float(ceil(end / BUCKETS))


def per_second(times: Iterable[float], width: float, end: float) -> list[Point]:
    """Return the rate per second in each bucket of `width` seconds."""
    counts = [0] * (int(end / width) + 1)
    for time in times:
        counts[min(max(0, int(time / width)), len(counts) - 1)] += 1
    return [((place + 0.5) * width, count / width) for place, count in enumerate(counts)]


def bucketed(samples: Iterable[Point], width: float, of: Callable[[list[float]], float]) -> list[Point]:
    """Return a statistic of the samples in each bucket of `width` seconds that is not empty."""
    buckets: dict[int, list[float]] = {}
    for time, value in samples:
        buckets.setdefault(max(0, int(time / width)), []).append(value)
    return [((place + 0.5) * width, of(values)) for place, values in sorted(buckets.items())]


def next_round(value: float, factors: Sequence[float] = (1, 2, 5)) -> float:
    """Return the next of 0.001, 0.002, 0.005, 0.01, …, 1, 2, 5, 10, …"""
    power = -3
    while True:
        for factor in factors:
            if (found := float(f"{factor}e{power}")) >= value:
                return found
        power += 1


def edge(values: Iterable[float]) -> tuple[float, float]:
    """Return the lowest and highest value with a margin."""
    found = list(values)
    return min(found) - 0.1, max(found) + 0.1


def legend(names: Sequence[str], y: float) -> list[str]:
    parts, x = [], 20.0
    for colour, name in zip(COLOURS, names, strict=False):
        parts.append(f'<rect x="{x:.0f}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(text(x + 14, y, name))
        x += 26 + 6.6 * len(name)
    return parts


def text(x: float, y: float, what: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(what)}</text>'


def line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'


def figure(value: float) -> str:
    """Format a number with about three figures."""
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def svg(title: str, height: float, parts: Sequence[str], *, width: int = WIDTH) -> str:
    style = (
        "text{font:12px sans-serif;fill:currentColor}svg{color:#222}@media(prefers-color-scheme:dark){svg{color:#ddd}}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title><style>{style}</style>",
            f'<text x="20" y="24" style="font-size:15px">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def page(title: str, body: str) -> str:
    """Return a self-contained HTML page."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{body}
</body></html>
"""


def tile(figure: str, what: str, *, well: bool | None = None) -> str:
    """Return an item of a list of figures, class `tiles`; green or red if `well` says so."""
    colour = "" if well is None else f' class="{"good" if well else "bad"}"'
    return f"<li{colour}><b>{escape(figure)}</b>{escape(what)}</li>"


def row(heading: str, counts: Mapping[str, int]) -> str:
    """Return a table row with a count of each thing; nothing if there is nothing to count."""
    if not counts:
        return ""
    told = ", ".join(f"{count:,} × {what}" for what, count in counts.items())
    return f"<tr><th>{escape(heading)}</th><td>{escape(told)}</td></tr>"

"""Small plots as SVG, by hand: bars, stacked bars, curves on logarithmic axes."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, LEFT, RIGHT, ROW = 760, 190, 110, 34
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#9c6b4e", "#97bbf5")
TICK = "#8884"


def bars(title: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """A bar for each (name, median, lowest, highest), the range as a line."""
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
    """A bar for each name, made of its groups."""
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


def curves(
    title: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, zero: bool = False, ticks: Sequence[float] = ()
) -> str:
    """A curve for each name through its (x, y), both logarithmic; with `zero` y is linear, from nothing.

    `ticks` are the x that are named, instead of powers of ten.
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
    for tick in ticks or [10.0**power for power in range(ceil(low_x), floor(high_x) + 1)]:
        x, _ = at(tick, 1 if zero else 10**low_y)
        parts += [line(x, top, x, top + height, TICK), text(x, top + height + 18, figure(tick), "middle")]
    steps = (
        [high_y * part / 4 for part in range(5)]
        if zero
        else [10.0**one for one in range(ceil(low_y), floor(high_y) + 1)]
    )
    for step in steps:
        _, y = at(10**low_x, step)
        parts += [line(left, y, left + width, y, TICK), text(left - 6, y + 4, figure(step), "end")]
    for colour, found in zip(COLOURS, lines.values(), strict=False):
        drawn = [at(*point) for point in sorted(found)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in drawn]
    return svg(title, top + height + 62, [*parts, *legend(tuple(lines), top + height + 44)])


def edge(values) -> tuple[float, float]:
    """The lowest and highest, and some room."""
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
    """A number with three figures or so."""
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def svg(title: str, height: float, parts: Sequence[str]) -> str:
    style = (
        "text{font:12px sans-serif;fill:currentColor}svg{color:#222}@media(prefers-color-scheme:dark){svg{color:#ddd}}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title><style>{style}</style>",
            f'<text x="20" y="24" style="font-size:15px">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )

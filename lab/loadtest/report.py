"""The results as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from lab import charts
from lab.loadtest.compare import Row, both, compare, differences
from lab.loadtest.tables import PERCENTILES, UNTIL, client, figure, knee, latency_rows, switched_on

ABOUT = {
    "orders per second": "Sent as the profile wants it, accepted by the shop, and ended: completed, refused or undone.",
    "seconds until the answer": "To POST /orders, by when the order was due.",
    "seconds until it was paid": "As the orders' timelines say, by when the order was due.",
    "seconds until it had ended": "Completed, refused or undone, by when the order was due; with the carrier's time.",
    "in flight": "Requests without an answer yet, and accepted orders that have not ended.",
    "memory, MiB": "Resident, of the shop's own processes by what they are for.",
    "buyers, after so many seconds": "From the moment in which all of them ordered.",
}


def write_report(path: Path, found: Mapping[str, Any], rows: Sequence[Row] = (), unlike: Sequence[str] = ()) -> None:
    path.write_text(page(found, rows, unlike), encoding="utf-8")


def page(found: Mapping[str, Any], rows: Sequence[Row] = (), unlike: Sequence[str] = ()) -> str:
    """Return the page. `rows` and `unlike` compare the run with an earlier one."""
    bad = sum(one["good"] is False for one in found["findings"])
    word = "All that was checked holds." if not bad else f"{bad} of what was checked does not hold."
    interrupted = " Interrupted: these are the results so far." if found["interrupted"] else ""
    body = [
        f'<p class="{"bad" if bad else "good"}">{word}{interrupted}</p>',
        f"<p>{escape(_where(found))}</p>",
        f"<p{' class=bad' if found['client']['warnings'] else ''}>{escape(client(found).plain)}</p>",
        *([f"<p class=bad>{escape(switched_on(found))}</p>"] if found["faults"] else []),
        _tiles(found),
        "<h2>What was checked</h2>",
        f"<table>{''.join(map(_finding, found['findings']))}</table>",
    ]
    if found["steps"]:
        body += ["<h2>The ramp</h2>", f"<p>{escape(knee(found))}</p>", _curves(found), _steps(found)]
    body += [
        "<h2>Latency</h2>",
        "<p>Seconds, from when an order was due.</p>",
        _table(("until", "orders", *PERCENTILES), latency_rows(found)),
    ]
    if rows:
        body += ["<h2>Beside the earlier run</h2>", *_compared(rows, unlike)]
    if found["drift"]:
        drift = [(what, f"{then['first']:g}", f"{then['last']:g}") for what, then in found["drift"].items()]
        body += ["<h2>Drift</h2>", _table(("", "first fifth", "last fifth"), drift)]
    series = found["series"]
    end = max((at for lines in series.values() for points in lines.values() for at, _ in points), default=0.0) or 1.0
    body += ["<h2>Over time</h2>", *(_over_time(title, lines, end) for title, lines in series.items())]
    body += [
        "<h2>The load</h2>",
        f"<table>{charts.row('answers', found['answers'])}{charts.row('orders ended as', found['endings'])}",
        f"{charts.row('cancellations', found['cancellations'])}</table>" if found["cancellations"] else "</table>",
    ]
    return charts.page(f"Load test: {found['title']}", "\n".join(body))


def write_comparison(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    path.write_text(beside(before, after), encoding="utf-8")


def beside(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return a page with two runs side by side: their figures, and each plot twice, on the same axes."""
    body = [f"<p>{which}: {escape(one['title'])}, {escape(_where(one))}</p>" for which, one in both(before, after)]
    body += [
        f"<p class=bad>{which}: {escape(switched_on(one))}</p>"
        for which, one in both(before, after)
        if one.get("faults")
    ]
    body += _compared(compare(before, after), differences(before, after))
    titles = list(dict.fromkeys([*before["series"], *after["series"]]))
    for title in titles:
        lines = [one["series"].get(title, {}) for one in (before, after)]
        points = [point for of_one in lines for of_it in of_one.values() for point in of_it]
        if not points:
            continue
        end, highest = max(at for at, _ in points) or 1.0, max(value for _, value in points) or 1.0
        plots = (
            charts.over_time(f"{title}, {which}", of_one, end=end, width=520, up_to=highest)
            for which, of_one in zip(("earlier", "now"), lines, strict=True)
        )
        body.append(f'<h2>{escape(title)}</h2><p>{ABOUT[title]}</p><div class="pair">{"".join(plots)}</div>')
    return charts.page("Two load tests", "\n".join(body))


def _where(found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    began = datetime.fromisoformat(found["began"])
    return f"{found['where']}, {began:%Y-%m-%d %H:%M} UTC, {machine['cores']} cores, Python {machine['python']}"


def _tiles(found: Mapping[str, Any]) -> str:
    at_once = found["profile"] == "flash-sale"
    tiles = [] if at_once else [(f"{found['rates']['accepted']:,g}", "orders accepted per second")]
    if found["knee"] is not None:
        tiles.insert(0, (f"{found['knee']:,g}", "orders per second, the knee"))
    for mark, title in UNTIL.items():
        of_it = found["latency"][mark]
        if of_it["count"]:
            tiles.append((f"{of_it['p95']:.2f} s", f"until {title}, p95"))
    return f'<ul class="tiles">{"".join(charts.tile(value, what) for value, what in tiles)}</ul>'


def _steps(found: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{one['rate']:g}",
            *(f"{one[mark]['p95']:.3f}" if one[mark]["count"] else "–" for mark in ("answered", "paid")),
            one["whyNot"] or "yes",
        )
        for one in found["steps"]
    ]
    return _table(("orders/s", "answered p95, s", "paid p95, s", "held"), rows, words_last=True)


def _curves(found: Mapping[str, Any]) -> str:
    """Latency by rate."""
    lines = {
        f"{mark}, {percentile}": [
            (one["rate"], 1000 * max(one[mark][percentile], 0.001)) for one in found["steps"] if one[mark]["count"]
        ]
        for mark, percentile in (("answered", "p50"), ("answered", "p95"), ("paid", "p50"), ("paid", "p95"))
    }
    lines = {name: points for name, points in lines.items() if points}
    return charts.curves("milliseconds, by orders per second", lines) if lines else ""


def _compared(rows: Sequence[Row], unlike: Sequence[str]) -> list[str]:
    note = f"Not the same: {'; '.join(unlike)}." if unlike else "Changes below 10 % or 5 ms say nothing."
    return [f"<p>{escape(note)}</p>", _comparison(rows)]


def _comparison(rows: Sequence[Row]) -> str:
    colours = {True: "good", False: "bad", None: ""}
    cells = "".join(
        f'<tr><td>{escape(row.what)}</td><td class="n">{figure(row.before)}</td><td class="n">{figure(row.after)}</td>'
        f'<td class="n {colours[row.better]}">{escape(row.change)}</td></tr>'
        for row in rows
    )
    heading = "".join(f'<th class="n">{one}</th>' for one in ("earlier", "now", "change"))
    return f"<table><tr><th></th>{heading}</tr>{cells}</table>"


def _over_time(title: str, lines: Mapping[str, Sequence[charts.Point]], end: float) -> str:
    return f"<p>{ABOUT[title]}</p>{charts.over_time(title, lines, end=end)}" if any(lines.values()) else ""


def _finding(one: Mapping[str, Any]) -> str:
    mark, colour = {True: ("✓", "good"), False: ("✗", "bad"), None: ("?", "")}[one["good"]]
    return f'<tr><td class="{colour}">{mark}</td><td>{escape(one["what"])}</td><td>{escape(one["detail"])}</td></tr>'


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, words_last: bool = False) -> str:
    """Return a table. The first column is text, the others are numbers; with `words_last`, the last is text, too."""
    numbers = range(1, len(heading) - words_last)

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if place in numbers else ''}>{escape(cell)}</{tag}>" for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{cells(heading, 'th')}</tr>{body}</table>"

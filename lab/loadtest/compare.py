"""Compares a load test with an earlier one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lab.loadtest.results import VERSION

NOISE, NOISE_MS = 0.1, 5  # smaller changes mean nothing: runs of the same shop differ as much


class NotComparable(Exception):
    """A file is not the result of a load test; the message names it."""


class Row(NamedTuple):
    """A figure then and now. `better` is None if the change is too small to tell, or if one of them is missing."""

    what: str
    before: float | None
    after: float | None
    better: bool | None

    @property
    def change(self) -> str:
        if self.before is None or self.after is None:
            return "–"
        if not self.before:
            return "same" if not self.after else "new"
        return f"{100 * (self.after / self.before - 1):+.0f} %"


def read(path: Path) -> dict[str, Any]:
    """Read an earlier `--json` file. Raises NotComparable."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotComparable(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"version", "profile", "options", "latency", "rates"} <= found.keys():
        raise NotComparable(f"{path} is not what `manage.py loadtest … --json FILE` writes.")
    if found["version"] != VERSION:
        raise NotComparable(f"{path} is of version {found['version']}, and this writes and reads {VERSION}.")
    return found


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the differences between two runs that make their figures less comparable."""
    pairs = [
        ("profile", before["profile"], after["profile"]),
        *((name, before["options"].get(name), after["options"].get(name)) for name in after["options"]),
        ("the shop", before["where"], after["where"]),
        ("fault switches", before.get("faults"), after.get("faults")),
        ("cores", before["machine"]["cores"], after["machine"]["cores"]),
    ]
    told = [f"{what}: {then}, now {now}" for what, then, now in pairs if then != now]
    return told + [f"the {which} one was interrupted" for which, one in both(before, after) if one["interrupted"]]


def both(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return each run with its name."""
    return ("earlier", before), ("present", after)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Row]:
    """Compare two runs, figure by figure."""
    rows = [_row("knee, orders per second", before["knee"], after["knee"], more_is_better=True)]
    rows += [
        _row(f"{what} per second", before["rates"][what], after["rates"][what], more_is_better=True)
        for what in ("accepted", "ended")
    ]
    for mark in after["latency"]:
        then, now = before["latency"].get(mark, {}), after["latency"][mark]
        rows += [
            _row(f"{mark} {percentile}, ms", _ms(then.get(percentile)), _ms(now.get(percentile)), least=NOISE_MS)
            for percentile in ("p50", "p95", "p99")
        ]
    return [row for row in rows if row.before is not None or row.after is not None]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds)


def _row(
    what: str, before: float | None, after: float | None, *, more_is_better: bool = False, least: float = 0.0
) -> Row:
    """`least` is the smallest absolute difference that counts."""
    better = None
    if before and after is not None and abs(after - before) >= max(least, NOISE * before):
        better = (after > before) is more_is_better
    return Row(what, before, after, better)

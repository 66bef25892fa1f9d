"""Every release reads the events of those before it: `events/` has a file of examples from each.

The newest file belongs to the release in development, and grows with it. A released file is never changed.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings

from sagas.conf import choreography
from sagas.events import decode
from shop import __version__

EXAMPLES = settings.BASE_DIR / "tests/shop/events"
RELEASES = sorted(EXAMPLES.glob("*.jsonl"), key=lambda path: [int(number) for number in path.stem.split(".")])
CURRENT = EXAMPLES / f"{__version__.removesuffix('.dev0')}.jsonl"


def examples(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read(example: dict[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(msgspec.json.encode(decode(example, choreography().events)))
    return written


def holds(new: Any, old: Any) -> bool:
    """Whether all that stood in `old` stands in `new`, which may have more fields."""
    if isinstance(old, dict):
        return all(name in new and holds(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(holds, new, old))
    return bool(new == old)


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_this_release_reads_the_events_of(path: Path):
    for example in examples(path):
        assert holds(read(example), example), example


def test_this_release_has_an_example_of_every_event_with_every_field():
    written = examples(CURRENT)

    assert {one["type"] for one in written} == {one.__name__ for one in choreography().events}
    for example in written:
        assert read(example) == example, f"Add the new fields to {CURRENT.name}."


def test_a_renamed_field_is_found():
    example = examples(CURRENT)[0]
    renamed = {**example, "checkout": {**example["checkout"], "addressee": "sealed"}}

    assert not holds(read(renamed), renamed)

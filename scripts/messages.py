"""Compile shop/locale/ko/LC_MESSAGES/django.po to the .mo that Django reads. Needs no gettext.

messages.py            write it
messages.py --check    exit 1 when it is not up to date
"""

from __future__ import annotations

import ast
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

CATALOGUE = Path(__file__).resolve().parent.parent / "shop/locale/ko/LC_MESSAGES/django.po"
MAGIC = 0x950412DE  # of a .mo, in the writer's byte order


def messages(text: str) -> dict[str, str]:
    """Parse a .po without plurals and contexts into {English: Korean}. Raises ValueError for a duplicate."""
    found: dict[str, str] = {}
    parts: list[list[str]] = []
    for line in text.splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword in ("msgid", "msgstr"):
            parts.append([ast.literal_eval(rest)])
        elif line.startswith('"'):
            parts[-1].append(ast.literal_eval(line))
    joined = ["".join(part) for part in parts]
    for english, korean in zip(joined[::2], joined[1::2], strict=True):
        if english in found:
            raise ValueError(f"There are two translations of {english!r}.")
        found[english] = korean
    return found


def compiled(found: Mapping[str, str]) -> bytes:
    """Return the same as a .mo: a header, two tables of (length, offset), and the texts, each ended by a NUL."""
    pairs = sorted((english.encode(), korean.encode()) for english, korean in found.items())
    texts, tables = b"", []
    begin = 7 * 4 + 2 * len(pairs) * 8
    for side in zip(*pairs, strict=True):
        for one in side:
            tables += [len(one), begin + len(texts)]
            texts += one + b"\0"
    header = [MAGIC, 0, len(pairs), 28, 28 + len(pairs) * 8, 0, 0]
    return struct.pack(f"<{len(header) + len(tables)}I", *header, *tables) + texts


def main(arguments: list[str]) -> int:
    fresh = compiled(messages(CATALOGUE.read_text()))
    target = CATALOGUE.with_suffix(".mo")
    if "--check" not in arguments:
        target.write_bytes(fresh)
        return 0
    if not target.exists() or target.read_bytes() != fresh:
        print(f"{target.name} is not up to date: make messages", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

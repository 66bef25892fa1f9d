"""Identifiers."""

import os
import time
from uuid import UUID

VERSION = (0x7 << 76) | (0x2 << 62)  # and variant
RANDOM = ~(0xF << 76) & ~(0x3 << 62)


def uuid7() -> UUID:
    """A UUID that sorts by time of creation (RFC 9562, version 7), so that new rows go to the index's end."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=(milliseconds << 80) | VERSION | (int.from_bytes(os.urandom(10), "big") & RANDOM))

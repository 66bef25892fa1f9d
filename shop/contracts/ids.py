"""Identifiers."""

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """A UUID that sorts by time of creation (RFC 9562, version 7), so that new rows go to the index's end."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return UUID(int=value)

"""Secrets that are kept in `var/`, and what to say when a disk is full. Scripts use it, too: standard library only."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]

ROOM = "Make room and start again. If it is the disk of var/, SHOP_VAR can name a directory on another one."


class Unusable(Exception):
    """A file of `var/` cannot be read or written. The message says why, and what to do."""


def full(error: BaseException | str) -> str:
    """Return a sentence if an error, or what a program printed, says that a disk is full; else an empty string."""
    cause: BaseException | str | None = error
    while cause:
        for line in str(cause).splitlines():
            if any(said in line for said in FULL):
                return f"The disk is full, or a limit is reached ({line.rpartition('FATAL:')[2].strip()}). {ROOM}"
        cause = None if isinstance(cause, str) else cause.__cause__ or cause.__context__
    return ""


def kept(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in a file. If there is none yet, make it; only its owner can read the file. Raises Unusable."""
    try:
        if not path.exists() or not path.stat().st_size:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.with_name(f"{path.name}.{os.getpid()}")
            try:
                whole.touch(mode=0o600)
                whole.write_text(make())
                whole.rename(path)  # a full disk must not leave half a secret
            finally:
                whole.unlink(missing_ok=True)
        return path.read_text().strip()
    except OSError as error:
        raise Unusable(
            full(f"{path}: {error.strerror}")
            or f"{path}: {error.strerror}. If another user (root?) ran the shop here before, give the directory to "
            "yourself with chown -R, or name another one in SHOP_VAR."
        ) from None

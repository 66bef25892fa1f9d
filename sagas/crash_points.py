"""Named boundaries at which a test may have the process die. Otherwise they do nothing.

There is one before and one after every commit, publication, acknowledgement and outside call; a statement that commits
by itself has one after it, for before it nothing has happened. A name is a literal, so tests can read all of them from
the code and kill a process at each.

`CRASH_AT=step.committed` ends the process at the first pass of that point, `CRASH_AT=step.committed:3` at the third; it
is obeyed only under `CRASH_POINTS=1`, which nothing but tests sets.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

EXIT_CODE = 66

_passes: Counter[str] = Counter()
_on_pass: Callable[[str], None] | None = None


def crash_point(name: str) -> None:
    """Pass a boundary. Its name is "who.what_has_just_happened"."""
    if _on_pass is not None:
        _on_pass(name)


@contextmanager
def calling(on_pass: Callable[[str], None]) -> Iterator[None]:
    """For simulations: call `on_pass(name)` at every boundary within the block; it may raise."""
    global _on_pass
    previous, _on_pass = _on_pass, on_pass
    try:
        yield
    finally:
        _on_pass = previous


def obey_environment() -> None:
    """End this process where CRASH_AT says."""
    global _on_pass
    if os.environ.get("CRASH_POINTS") == "1" and os.environ.get("CRASH_AT"):
        wanted, _, number = os.environ["CRASH_AT"].partition(":")
        _on_pass = partial(_end_process, wanted, int(number or 1))


def _end_process(wanted: str, number: int, name: str) -> None:
    if name == wanted:
        _passes[name] += 1
        if _passes[name] == number:
            os.write(2, f"CRASH_AT {name}: process {os.getpid()} ends here\n".encode())
            os._exit(EXIT_CODE)


obey_environment()

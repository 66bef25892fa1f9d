"""Named boundaries at which a process may die. They do nothing, except where a test asks for a crash.

`CRASH_AT=step.committed` ends the process at the first pass of that point, `CRASH_AT=step.committed:3` at the third;
it is obeyed under `CRASH_POINTS=1` only, which nothing but the tests sets. A simulation gives a function instead.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


def _end_process(name: str) -> None:
    wanted, _, number = os.environ["CRASH_AT"].partition(":")
    if name == wanted:
        _passes[name] += 1
        if _passes[name] == int(number or 1):
            os.write(2, f"CRASH_AT {name}: process {os.getpid()} ends here\n".encode())
            os._exit(EXIT_CODE)


if os.environ.get("CRASH_POINTS") == "1" and os.environ.get("CRASH_AT"):
    _on_pass = _end_process

"""Named boundaries at which a test may have the process die (`sagas.testing.crashes`). Otherwise they do nothing.

There is one before and one after every commit, publication, acknowledgement and outside call; a statement that commits
by itself has one after it, for before it nothing has happened. A name is a literal, so tests can read all of them from
the code and kill a process at each.
"""

from collections.abc import Callable

on_pass: Callable[[str], None] | None = None  # for tests: called at every boundary with its name


def crash_point(name: str) -> None:
    """Pass a boundary. Its name is "who.what_has_just_happened"."""
    if on_pass is not None:
        on_pass(name)

"""For commands that need packages which production lacks: the embedded mode, and what starts servers of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError


@contextmanager
def more_than_production() -> Iterator[None]:
    """Wrap the imports of such a command: raises CommandError instead of ModuleNotFoundError.

    The command imports when it runs, so that its --help works everywhere.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        raise CommandError(
            f"This needs what production does without ({missing.name}): run it in a checkout that has the packages of "
            "requirements.txt.",
            returncode=2,
        ) from missing

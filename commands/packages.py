"""Commands that need more than production has: the embedded mode, and what starts servers of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError


@contextmanager
def more_than_production() -> Iterator[None]:
    """Around the imports of such a command. Raises CommandError instead of ModuleNotFoundError.

    They are made when the command runs, so that its --help is there everywhere.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        raise CommandError(
            f"This needs what production does without ({missing.name}): run it in a checkout that has the packages of "
            "requirements.txt.",
            returncode=2,
        ) from missing

"""Worlds that leave nothing behind."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.conf import settings
from django.db import connections, transaction


@contextmanager
def rolled_back() -> Iterator[None]:
    """Transactions on all databases that are rolled back in the end; durable ones may be opened within."""
    aliases = [
        name
        for name, database in settings.DATABASES.items()
        if not database["TEST"].get("MIRROR") and connections[name].vendor == "postgresql"  # "default" may be empty
    ]
    with ExitStack() as stack:
        for alias in aliases:
            block = transaction.atomic(using=alias)
            block._from_testcase = True  # type: ignore[attr-defined] # as TestCase does: durable transactions may be within
            stack.enter_context(block)
        try:
            yield
        finally:
            for alias in aliases:
                transaction.set_rollback(True, using=alias)

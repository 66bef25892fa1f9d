"""Two releases of the shop as source trees: the one before and the one after.

With a tag, they are the last release and this checkout. Without, they are this checkout and a release that is made up:
it changes the schema, an event, and what is heard by whom, as a real one would.
"""

import re
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from django.conf import settings
from django.db import migrations, models
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.writer import MigrationWriter

FIELD = '    gift: str = "none"  # a field more than the release before knows\n'

# What the release that is made up appends to its modules.
APPENDED = {
    "shop/contracts/events.py": """
class OrderWeighed(OrderEvent, frozen=True):
    grams: int
""",
    "shop/saga.py": """
from dataclasses import replace
from shop.contracts.events import OrderWeighed
ORDER = replace(
    ORDER,
    heard_by={**ORDER.heard_by, OrderWeighed: ("notifications.note_weight",)},
    steps={**ORDER.steps, "notifications.note_weight": record()},
)
SAGAS = (ORDER, RETURN, CUSTOMER)
""",
    "notifications/models.py": """
class Weight(models.Model):
    order_id = models.BigIntegerField(primary_key=True)
    grams = models.IntegerField()
""",
    "notifications/tasks.py": """
from notifications.models import Weight
from shop.contracts.events import OrderWeighed
@step
def note_weight(weighed: list[OrderWeighed]) -> None:
    Weight.objects.bulk_create([Weight(order_id=one.order_id, grams=one.grams) for one in weighed])
""",
    "orders/models.py": """
Order.add_to_class("gift", models.CharField(max_length=20, null=True))
""",
    "inventory/models.py": """
Inbox.add_to_class("note", models.CharField(max_length=20, db_default=""))
""",
    "orders/placing.py": """
from django.db import transaction
from sagas.outbox import emit
from shop.contracts.events import OrderWeighed
_write = write
def write(row: Row, lines: Sequence[Row], created: OrderCreated) -> Order:
    with transaction.atomic(using="orders"):
        order = _write(row, lines, msgspec.structs.replace(created, gift="a card"))
        Order.objects.filter(pk=order.pk).update(gift="a card")
        emit(OrderWeighed(order_id=order.pk, grams=100), service="orders")
    return order
""",
}
EXPANDS: dict[str, list[Operation]] = {
    "orders": [migrations.AddField("order", "gift", models.CharField(max_length=20, null=True))],
    "inventory": [migrations.AddField("inbox", "note", models.CharField(max_length=20, db_default=""))],
    "notifications": [
        migrations.CreateModel(
            "Weight",
            [("order_id", models.BigIntegerField(primary_key=True, serialize=False)), ("grams", models.IntegerField())],
        )
    ],
}


def last_release() -> str:
    """Its tag; empty before the first."""
    return _git("describe", "--tags", "--abbrev=0", "--match=v*").strip()


def is_made_up() -> bool:
    """Whether the later one of the two is none of ours."""
    return not last_release()


def before_and_after(folder: Path) -> tuple[Path, Path]:
    """The source trees of the last release and of the one that follows it."""
    tag = last_release()
    if not tag:
        return settings.BASE_DIR, _made_up(folder / "next")
    before = folder / "before"
    with tarfile.open(fileobj=BytesIO(_archive(tag))) as archive:
        archive.extractall(before, filter="data")
    return before, settings.BASE_DIR


def made_up_migrations() -> list[Migration]:
    """Those of the release that is made up, after the ones that there are."""
    graph = MigrationLoader(None).graph
    made = []
    for app, operations in EXPANDS.items():
        migration = Migration("9999_next", app)
        migration.operations, migration.dependencies = operations, graph.leaf_nodes(app)
        made.append(migration)
    return made


def _made_up(tree: Path) -> Path:
    tree.mkdir()
    for package in settings.BASE_DIR.iterdir():
        if (package / "__init__.py").exists() and package.name != "tests":
            shutil.copytree(package, tree / package.name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    for name in ("manage.py", "celeryconfig.py", "disk.py"):
        shutil.copy(settings.BASE_DIR / name, tree / name)
    for name, text in APPENDED.items():
        with (tree / name).open("a") as module:
            module.write(f"\n{text}")
    events = tree / "shop/contracts/events.py"
    text, count = re.subn(r"(class OrderCreated\(.*\n(?:    .*\n)+)", rf"\g<1>{FIELD}", events.read_text())
    assert count == 1
    events.write_text(text)
    for migration in made_up_migrations():
        path = tree / migration.app_label / "migrations" / f"{migration.name}.py"
        path.write_text(MigrationWriter(migration).as_string())
    return tree


def _git(*arguments: str) -> str:
    """What git says; nothing where there is no git, no history, or no such thing in it."""
    if not shutil.which("git"):
        return ""
    return subprocess.run(["git", *arguments], cwd=settings.BASE_DIR, capture_output=True, text=True).stdout


def _archive(tag: str) -> bytes:
    return subprocess.run(["git", "archive", tag], cwd=settings.BASE_DIR, capture_output=True, check=True).stdout

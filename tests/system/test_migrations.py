"""Migrations expand: the release that still runs works on, whatever the next one's migrations add."""

from typing import Any

import pytest
from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import connections, migrations, models
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.models.functions import Now

from shop import __version__
from tests.docs.test_release import RELEASES, numbers
from tests.support.migrations import OWN, changed, problems, released
from tests.support.releases import EXPANDS, made_up_migrations

RECORD = settings.BASE_DIR / "tests/system/migrations.sha256"
LOADER = MigrationLoader(None)


@pytest.fixture(autouse=True)
def _without_a_transaction(django_db_setup: None, django_db_blocker: Any) -> Any:
    """Nothing is written: schemas are asked for, and statements collected."""
    with django_db_blocker.unblock():
        yield
        connections["orders"].close()


def migrations_after_the_first() -> list[Migration]:
    return [one for (app, _), one in sorted(LOADER.disk_migrations.items()) if app in OWN and not one.initial]


def wrong(migration: Migration, before: Any) -> list[str]:
    """What may not be in it. What it takes away may be gone in the release after the one that it says does without."""
    unused_since = getattr(migration, "unused_since", None)
    if unused_since is None:
        return problems(migration, before)
    this = numbers(__version__.removesuffix(".dev0"))
    return [] if numbers(unused_since) < this else [f"{unused_since} is not released yet"]


def test_the_release_before_works_with_each_migration():
    before = {
        one: LOADER.project_state((one.app_label, one.name), at_end=False) for one in migrations_after_the_first()
    }

    assert {str(one): wrong(one, state) for one, state in before.items() if wrong(one, state)} == {}


def planted(*operations: Any, **attributes: Any) -> list[str]:
    """What is wrong with a migration of orders, after those it has."""
    leaf = LOADER.graph.leaf_nodes("orders")
    made = type("Migration", (Migration,), {"operations": list(operations), **attributes})("9999_planted", "orders")
    return wrong(made, LOADER.project_state(leaf))


INDEX = models.Index(fields=["updated_at"], name="orders_by_change")


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (migrations.AddField("order", "gift", models.CharField(max_length=9)), "NOT NULL constraint on columns"),
        (migrations.AddField("order", "gift", models.IntegerField(default=1)), "columns without their default"),
        (migrations.AlterField("order", "status", models.CharField(max_length=9)), "ALTERING columns"),
        (migrations.RenameField("order", "status", "state"), "RENAMING columns"),
        (migrations.RenameModel("Order", "Purchase"), "RENAMING tables"),
        (migrations.AlterModelTable("Order", "purchases"), "RENAMING tables"),
        (migrations.RemoveField("order", "tracking_number"), "DROPPING columns"),
        (migrations.DeleteModel("TimelineEntry"), "DROPPING table"),
        (migrations.AddIndex("order", INDEX), "CREATE INDEX locks table"),
        (
            migrations.AddConstraint("order", models.UniqueConstraint(fields=["user_id"], name="one_each")),
            "ADDING unique constraint",
        ),
        (
            migrations.AddConstraint("order", models.CheckConstraint(condition=models.Q(looks__lt=9), name="few")),
            "CHECK constraint on a table that is in use",
        ),
        (migrations.RunSQL("ALTER TABLE orders_order DROP COLUMN looks"), "DROPPING columns"),
        (migrations.RunPython(migrations.RunPython.noop), "rows are changed by a timer"),
    ],
    ids=lambda value: value.describe() if hasattr(value, "describe") else "",
)
def test_what_the_release_before_does_not_survive_is_found(operation: Any, said: str):
    assert any(said in line for line in planted(operation))


def test_a_default_of_one_column_is_none_for_another():
    good = migrations.AddField("order", "gift", models.IntegerField(db_default=1))
    bad = migrations.AddField("order", "card", models.CharField(max_length=9))

    assert len(planted(good, bad)) == len(planted(bad)) == 1


def test_what_expands_is_no_problem():
    few = models.CheckConstraint(condition=models.Q(id__lt=9), name="few")
    operations = [
        migrations.AddField("order", "gift", models.CharField(max_length=9, null=True)),
        migrations.AddField("order", "since", models.DateTimeField(db_default=Now())),
        AddIndexConcurrently("order", INDEX),
        migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())]),
        migrations.AddConstraint("note", models.UniqueConstraint(fields=["id", "text"], name="once")),
        migrations.AddConstraint("note", few),
    ]

    assert planted(*operations) == []


def test_the_release_that_is_made_up_to_try_upgrades_expands():
    assert {one.app_label: wrong(one, LOADER.project_state(one.dependencies)) for one in made_up_migrations()} == {
        app: [] for app in EXPANDS
    }


def test_what_a_release_does_not_use_any_more_goes_in_the_next():
    removal = migrations.RemoveField("order", "tracking_number")
    this = __version__.removesuffix(".dev0")

    assert planted(removal, unused_since="0.0.1") == []
    assert planted(removal, unused_since=this) == [f"{this} is not released yet"]


def test_released_migrations_are_as_they_were_released():
    files = released(RECORD.read_text())

    assert changed(files, settings.BASE_DIR) == []
    assert bool(files) == (len(RELEASES) > 1), "Write tests/system/migrations.sha256 anew: it is of the last release."


def test_a_released_migration_that_was_changed_is_found(tmp_path: Any):
    (tmp_path / "one.py").write_text("as released\n")
    digest = "b2e1dbdc4f4bbf7a2dc6a9a71d09bd1e4a5e3d2a0ad2a4c4e7e8c7d0ffb3b1aa"

    assert changed({"one.py": digest, "gone.py": digest}, tmp_path) == ["one.py", "gone.py"]
    assert released(f"# a comment\n{digest}  one.py\n") == {"one.py": digest}

"""What a migration would do to the release that still runs while it is applied (docs/operations.md, "Upgrade")."""

import hashlib
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.migrations import Migration, RunPython
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django_migration_linter.sql_analyser import PostgresqlAnalyser, analyse_sql_statements

from shop.router import database_of

OWN = [service for service in settings.SERVICES if (Path(apps.get_app_config(service).path) / "migrations").exists()]
# Further words of SQL that take something away, or allow less than before.
NARROWING = {"DROP DEFAULT": "columns without their default", " CHECK (": "CHECK constraint on a table that is in use"}


def problems(migration: Migration, before: ProjectState) -> list[str]:
    """What the migration breaks or holds up, a line each.

    Each operation is looked at by itself: a default of one column is none for another.
    """
    state, found, created = before.clone(), [], list[str]()
    for operation in migration.operations:
        statements = _sql(operation, migration.app_label, state)
        found += [f"{operation.describe()}: {problem}" for problem in _of_operation(operation, statements, created)]
        created += [sql for sql in statements if sql.startswith("CREATE TABLE")]
    return found


def _sql(operation: Operation, app: str, state: ProjectState) -> list[str]:
    """What an operation would execute; moves the state on."""
    before = state.clone()
    operation.state_forwards(app, state)
    with connections[database_of(app)].schema_editor(collect_sql=True, atomic=False) as editor:
        operation.database_forwards(app, editor, before, state)
    return [str(sql) for sql in editor.collected_sql]


def _of_operation(operation: Operation, statements: list[str], created: list[str]) -> list[str]:
    """`created` are the tables that nobody uses yet."""
    if isinstance(operation, RunPython):
        return ["rows are changed by a timer, a portion at a time, and not while a release waits"]
    errors, _, warnings = analyse_sql_statements(PostgresqlAnalyser, [*created, *statements])
    in_use = [sql for sql in statements if sql.startswith("ALTER TABLE") and not _is_of(sql, created)]
    narrowing = [text for words, text in NARROWING.items() if any(words in sql for sql in in_use)]
    return sorted({issue.message for issue in (*errors, *warnings)} | set(narrowing))


def _is_of(change: str, created: list[str]) -> bool:
    return any(change.split()[2] == sql.split()[2] for sql in created)


def released(record: str) -> dict[str, str]:
    """Path and SHA-256 of the migrations of released versions, from lines as sha256sum writes them."""
    lines = [line.split() for line in record.splitlines() if line and not line.startswith("#")]
    return {path: digest for digest, path in lines}


def changed(files: dict[str, str], folder: Path) -> list[str]:
    """Those whose content below a folder is another now."""
    return [path for path, digest in files.items() if digest != _digest(folder / path)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

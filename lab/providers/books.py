"""What a stand-in stores: its objects, its responses by idempotency key, and every movement of money.

It is in memory, or in an SQLite file, which outlives the process. Reconciliation and the audit compare the shop's
ledger with the movements.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TABLES = """
    CREATE TABLE IF NOT EXISTS object (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entry (
        id INTEGER PRIMARY KEY, kind TEXT, reference TEXT, payment TEXT, amount INTEGER, currency TEXT, at REAL);
"""

AUTHORIZE, CAPTURE, VOID, REFUND = "AUTHORIZE", "CAPTURE", "VOID", "REFUND"


class Entry(NamedTuple):
    """A movement: `amount` in the currency's minor unit, `at` in seconds since 1970."""

    kind: str
    reference: str
    payment: str
    amount: int
    currency: str
    at: float


class Books:
    """The books of one provider. Methods may be called from any thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + TABLES)
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written within, or none of it if that raises, or the process is killed."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def get(self, kind: str, id: str) -> Any:
        """Return a stored object, or None."""
        with self._lock:
            row = self._connection.execute("SELECT body FROM object WHERE kind = ? AND id = ?", (kind, id)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, kind: str, id: str, body: Any) -> None:
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?)", (kind, id, json.dumps(body)))

    def all(self, kind: str) -> list[Any]:
        """All objects of a kind."""
        with self._lock:
            rows = self._connection.execute("SELECT body FROM object WHERE kind = ?", (kind,)).fetchall()
        return [json.loads(body) for (body,) in rows]

    def count(self, kind: str) -> int:
        with self._lock:
            (count,) = self._connection.execute("SELECT count(*) FROM object WHERE kind = ?", (kind,)).fetchone()
        return int(count)

    def enter(self, kind: str, reference: str, payment: str, amount: int, currency: str) -> None:
        """Record a movement of money."""
        with self._lock:
            row = (kind, reference, payment, amount, currency, time.time())
            self._connection.execute(
                "INSERT INTO entry (kind, reference, payment, amount, currency, at) VALUES (?, ?, ?, ?, ?, ?)", row
            )

    def entries(self, payment: str = "") -> list[Entry]:
        """All movements, or those of one payment, oldest first."""
        query = "SELECT kind, reference, payment, amount, currency, at FROM entry WHERE ? IN ('', payment) ORDER BY id"
        with self._lock:
            rows = self._connection.execute(query, (payment,)).fetchall()
        return [Entry(*row) for row in rows]

    def change(self, sql: str, *parameters: Any) -> None:
        """For tests: alter an entry behind everybody's back."""
        with self._lock:
            self._connection.execute(sql, parameters)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

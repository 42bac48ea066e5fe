"""The catalog: a SQLite database that remembers, for each batch, what the batch replaced."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS products (sku TEXT PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batches (key TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS replaced (key TEXT, sku TEXT, name TEXT, cents INTEGER, PRIMARY KEY (key, sku));
"""
_KEEP = """
INSERT INTO replaced SELECT ?, ?, old.name, old.cents
FROM (SELECT 1) LEFT JOIN products AS old ON old.sku = ? WHERE true ON CONFLICT DO NOTHING
"""

Row = tuple[str, str, int]


@dataclass(frozen=True)
class Catalog:
    """Products by SKU.

    Attributes:
        path: of the database.
    """

    path: Path

    def create(self) -> None:
        """Make the tables, if they aren't there."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(_SCHEMA)

    def put(self, key: str, rows: Iterable[Row]) -> None:
        """Add or replace products, once for each key; what they replace is kept under it."""
        with self._transaction() as connection:
            if (
                connection.execute("INSERT INTO batches VALUES (?) ON CONFLICT DO NOTHING", [key]).rowcount
                == 0
            ):
                return
            for sku, name, cents in rows:
                connection.execute(_KEEP, [key, sku, sku])
                connection.execute("INSERT OR REPLACE INTO products VALUES (?, ?, ?)", [sku, name, cents])

    def take_back(self, key: str) -> None:
        """Put back what was there before; for nothing if it never was put, or is back already.

        An execution of the batch that comes later, because it was taken for lost, finds its key and does nothing.
        """
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM products WHERE sku IN (SELECT sku FROM replaced WHERE key = ?)", [key]
            )
            connection.execute(
                "INSERT INTO products SELECT sku, name, cents FROM replaced WHERE key = ? AND name IS NOT NULL",
                [key],
            )
            connection.execute("DELETE FROM replaced WHERE key = ?", [key])
            connection.execute("INSERT INTO batches VALUES (?) ON CONFLICT DO NOTHING", [key])

    def rows(self) -> list[Row]:
        """Give all products, by SKU."""
        with self._transaction() as connection:
            return list(connection.execute("SELECT * FROM products ORDER BY sku"))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Begin at once, so that two batches never wait for each other half-way."""
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

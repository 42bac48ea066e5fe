"""The system that the sagas change: effects by idempotency key, in SQLite, outside workers and server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLES = """
create table if not exists effects (key text primary key, run text, step text, undone integer default 0);
create table if not exists calls (run text, step text, what text);
create table if not exists wrong (what text);
"""


@dataclass(frozen=True)
class Store:
    """What was done and undone, and how often handlers were called."""

    file: Path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file, timeout=60)) as db, db:
            yield db

    def prepare(self) -> None:
        with self._open() as db:
            db.execute("pragma journal_mode = wal")
            db.executescript(_TABLES)

    def do(self, key: str, run: str, step: str) -> None:
        """Have an effect, once for each key; one that was undone stays undone, and is noted as wrong."""
        with self._open() as db:
            db.execute("insert into calls values (?, ?, 'do')", (run, step))
            undone = db.execute("select undone from effects where key = ?", (key,)).fetchone()
            if undone and undone[0]:
                db.execute("insert into wrong values (?)", (f"{run}: {step} was done after its undo",))
            db.execute("insert or ignore into effects (key, run, step) values (?, ?, ?)", (key, run, step))

    def undo(self, key: str, run: str, step: str) -> None:
        """Take an effect back; one that never was is kept as undone, so that it can't come later."""
        with self._open() as db:
            db.execute("insert into calls values (?, ?, 'undo')", (run, step))
            db.execute("insert or ignore into effects (key, run, step) values (?, ?, ?)", (key, run, step))
            db.execute("update effects set undone = 1 where key = ?", (key,))

    def effects(self) -> dict[str, dict[str, bool]]:
        """Give for each run the steps that had an effect, and whether it is still there."""
        found: dict[str, dict[str, bool]] = {}
        with self._open() as db:
            for run, step, undone in db.execute("select run, step, undone from effects"):
                assert step not in found.setdefault(run, {}), f"{run}: {step} has two keys"
                found[run][step] = not undone
        return found

    def wrong(self) -> list[str]:
        """Give what must not happen, and did."""
        with self._open() as db:
            return [row[0] for row in db.execute("select what from wrong")]

    def called(self) -> int:
        """Count the calls of handlers."""
        with self._open() as db:
            return int(db.execute("select count(*) from calls").fetchone()[0])

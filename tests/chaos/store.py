"""The system that the sagas change: effects by idempotency key, in SQLite, outside workers and server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLES = """
create table if not exists effects (key text primary key, run text, step text, undone integer default 0);
create table if not exists calls (attempt text primary key, run text, step text, what text, ended integer default 0);
create table if not exists wrong (what text);
"""


@dataclass(frozen=True)
class Calls:
    """How often the handler of a step, or of its undo, was called.

    Attributes:
        begun: calls.
        ended: of those, how many came to their end, by returning or raising; the others were killed.
    """

    begun: int = 0
    ended: int = 0


@dataclass(frozen=True)
class Store:
    """What was done and undone, and how often handlers were called."""

    file: Path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file, timeout=60)) as db, db:
            db.execute("pragma synchronous = off")  # processes are killed here, not machines
            yield db

    def prepare(self) -> None:
        with self._open() as db:
            db.execute("pragma journal_mode = wal")
            db.executescript(_TABLES)

    @contextmanager
    def called(self, run: str, step: str, what: str, attempt: str) -> Iterator[None]:
        """Record a call before anything else can happen in it, and its end; one attempt makes one."""
        with self._open() as db:
            row = (attempt, run, step, what)
            made = db.execute(
                "insert or ignore into calls (attempt, run, step, what) values (?, ?, ?, ?)", row
            )
            if not made.rowcount:
                db.execute("insert into wrong values (?)", (f"{run}: {step}: {what} twice in one attempt",))
        try:
            yield
        finally:
            with self._open() as db:
                db.execute("update calls set ended = 1 where attempt = ?", (attempt,))

    def do(self, key: str, run: str, step: str) -> None:
        """Have an effect, once for each key; one that was undone stays undone, and is noted as wrong."""
        with self._open() as db:
            undone = db.execute("select undone from effects where key = ?", (key,)).fetchone()
            if undone and undone[0]:
                db.execute("insert into wrong values (?)", (f"{run}: {step} was done after its undo",))
            db.execute("insert or ignore into effects (key, run, step) values (?, ?, ?)", (key, run, step))

    def undo(self, key: str, run: str, step: str) -> None:
        """Take an effect back; one that never was is kept as undone, so that it can't come later."""
        with self._open() as db:
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

    def calls(self) -> dict[str, dict[tuple[str, str], Calls]]:
        """Give for each run how often each step, as ``(step, "do" or "undo")``, was called."""
        found: dict[str, dict[tuple[str, str], Calls]] = {}
        query = "select run, step, what, count(*), sum(ended) from calls group by run, step, what"
        with self._open() as db:
            for run, step, what, begun, ended in db.execute(query):
                found.setdefault(run, {})[step, what] = Calls(begun, ended)
        return found

    def wrong(self) -> list[str]:
        """Give what must not happen, and did."""
        with self._open() as db:
            return [row[0] for row in db.execute("select what from wrong")]

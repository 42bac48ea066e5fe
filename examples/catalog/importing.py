"""Importing a file: two operations, and the long-running operation that is made of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, Field
from temporalio import workflow

from activities import Context, Outcome, Retry, Unrecoverable, operation
from flows import LongRunning

with workflow.unsafe.imports_passed_through():
    from examples.catalog.store import Catalog, Row


class Source(BaseModel):
    """A CSV file with the columns sku, name and cents, where the worker can read it."""

    file: str


class Rows(Source):
    """Some of its rows: how many, and from which, counted from 0."""

    first: int = Field(ge=0)
    count: int = Field(gt=0)


class ImportRequest(Source):
    """What to import, and how.

    Attributes:
        batch: rows in one step.
        batches: steps in one leg, side by side.
        rest: between two legs.
    """

    batch: int = Field(default=1000, gt=0)
    batches: int = Field(default=4, gt=0)
    rest: timedelta = timedelta(seconds=1)


class ImportState(BaseModel):
    """How many rows there are, and how many of them are imported."""

    total: int = 0
    imported: int = 0


class ImportProgress(ImportState):
    """The same, for whoever looks."""

    percent: int = 0


class Imported(BaseModel):
    """What an import came to."""

    products: int


@operation(id="count-rows", version="1.0.0")
def count_rows(ctx: Context[Catalog], input: Source) -> int:
    """Count the rows of a file, each with a SKU of its own: batches that run side by side must not meet."""
    seen: set[str] = set()
    for sku, *_ in _read(input):
        if sku in seen:
            raise Unrecoverable(f"{sku} is there twice")
        seen.add(sku)
    return len(seen)


@operation(id="import-rows", version="1.0.0", timeout=timedelta(minutes=5), retry=Retry(max_attempts=5))
def import_rows(ctx: Context[Catalog], input: Rows) -> None:
    """Import some rows, or none of them."""
    ctx.deps.put(ctx.idempotency_key, islice(_read(input), input.first, input.first + input.count))


@import_rows.undo
def put_back(ctx: Context[Catalog], input: Rows, outcome: Outcome[None]) -> None:
    """Put back what they replaced."""
    ctx.deps.take_back(ctx.idempotency_key)


class ImportCatalog(
    LongRunning[ImportRequest, Imported, ImportState, ImportProgress], id="import-catalog", version="1.0.0"
):
    """Import a catalog, a few batches at a time."""

    async def run(self, request: ImportRequest) -> Imported:
        """Import one leg's batches; the last leg ends it."""
        if self.resume_point == "":
            counted = await self.execute(count_rows, Source(file=request.file))
            self.state.total = counted.output
        await self._import_some(request)
        if self.state.imported == self.state.total:
            return Imported(products=self.state.total)
        return await self.wait(request.rest, resume_point="next")

    async def _import_some(self, request: ImportRequest) -> None:
        """Import what one leg imports, and show it."""
        state = self.state
        until = min(state.imported + request.batch * request.batches, state.total)
        steps = range(state.imported, until, request.batch)
        batches = [
            Rows(file=request.file, first=first, count=min(request.batch, until - first)) for first in steps
        ]
        await self.gather(*(self.execute(import_rows, rows) for rows in batches))
        state.imported = until
        percent = 100 * until // state.total if state.total else 100
        self.metadata = ImportProgress(**state.model_dump(), percent=percent)


def _read(source: Source) -> Iterator[Row]:
    """Read a file.

    Raises:
        Unrecoverable: when it isn't there, or a row is wrong; no attempt would find it otherwise.
    """
    try:
        with Path(source.file).open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                yield _row(row, number)
    except FileNotFoundError:
        raise Unrecoverable(f"there is no file {source.file}") from None


def _row(row: dict[str, str], number: int) -> Row:
    try:
        return row["sku"], row["name"], int(row["cents"])
    except (KeyError, TypeError, ValueError):
        raise Unrecoverable(f"line {number} isn't sku,name,cents: {dict(row)}") from None

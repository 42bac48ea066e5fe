r"""A catalog of products, imported from a file a thousand rows at a time; a failed import leaves it as it was.

It is a long-running operation. Each leg imports a few batches side by side, shows how far it is, rests, and
is entered again at the resume point `next`. Its history stays small however long the file is; cancel it,
stop it or let it meet a bad row after hours, and the rows of all legs are put back.

    printf 'sku,name,cents\nA1,apple,30\nB2,pear,40\n' > /tmp/products.csv
    CATALOG=/tmp/catalog.db python worker.py --dev --module examples.catalog

In a second terminal:

    temporal workflow execute --type import-catalog@1.0.0 --task-queue counterstep --workflow-id import-1 \
        --input '{"file": "/tmp/products.csv"}'
    temporal workflow query --workflow-id import-1 --type metadata

`temporal workflow describe --workflow-id import-1 --output json` shows how far it is without a worker, in the
memo `counterstep.metadata`. A row whose price is no number fails the import, and names the row.

Each batch keeps, under its idempotency key, the rows that it replaced, in the same transaction: so it may run
twice, and its undo may run for nothing. See `store.py`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from examples.catalog.importing import ImportCatalog, count_rows, import_rows
from examples.catalog.store import Catalog

__all__ = [
    # operations
    "count_rows",
    "import_rows",
    # long-running operations
    "ImportCatalog",
    # what they work on
    "lifespan",
]


@asynccontextmanager
async def lifespan() -> AsyncIterator[Catalog]:
    """The catalog in the file that the environment variable `CATALOG` names; `catalog.db` unless set."""
    catalog = Catalog(Path(os.environ.get("CATALOG", "catalog.db")))
    catalog.create()
    yield catalog

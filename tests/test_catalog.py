"""A catalog is imported over several legs into a real SQLite database; an import that fails leaves it as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from activities import Context, Outcome, Status, Unrecoverable
from examples.catalog import Catalog, ImportCatalog, count_rows, import_rows
from examples.catalog.importing import Imported, ImportRequest, Rows, Source
from flows import load_modules, start
from tests.conftest import Serve
from tests.support import causes, failure_of, new_id

ROWS = [(f"S{number:03}", f"product {number}", number) for number in range(95)]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A catalog with one product of the file, at another price, and one of its own."""
    catalog = Catalog(tmp_path / "catalog.db")
    catalog.create()
    catalog.put("before", [("S050", "old name", 7), ("Z", "not in the file", 1)])
    return catalog


def request(tmp_path: Path, rows: list[tuple[Any, ...]], **more: Any) -> ImportRequest:
    """Write a file."""
    path = tmp_path / "products.csv"
    path.write_text("\n".join(["sku,name,cents", *(",".join(map(str, row)) for row in rows)]))
    return ImportRequest(file=str(path), batch=10, batches=3, **more)


async def test_an_import_in_four_legs(
    skipping: Serve, catalog: Catalog, tmp_path: Path, task_queue: str
) -> None:
    """95 rows, 10 a batch, 3 batches a leg: all are there, the fourth leg ends it, and the memo says 100 %."""
    async with skipping(count_rows, import_rows, ImportCatalog, deps=catalog) as client:
        handle = await start(
            client, ImportCatalog, request(tmp_path, ROWS), id=new_id(), task_queue=task_queue
        )
        assert await handle.result() == Imported(products=95)
        memo = await (await client.get_workflow_handle(handle.id).describe()).memo()
    assert memo["counterstep.metadata"] == {"total": 95, "imported": 95, "percent": 100}
    assert memo["counterstep.progress"] == {"resume_point": "next", "leg": 3, "steps_done": 13}
    assert catalog.rows() == [*ROWS, ("Z", "not in the file", 1)]


async def test_a_bad_row_in_the_last_leg(
    skipping: Serve, catalog: Catalog, tmp_path: Path, task_queue: str
) -> None:
    """Row 93 has no price: the run fails naming its line, and the catalog is as it was, the replaced product too."""
    before = catalog.rows()
    bad = [*ROWS[:93], ("S093", "product 93", "cheap"), ROWS[94]]
    async with skipping(count_rows, import_rows, ImportCatalog, deps=catalog) as client:
        wanted = request(tmp_path, bad)
        handle = await start(client, ImportCatalog, wanted, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert found[0][0] == "RolledBack"
    assert found[-1] == (
        "Unrecoverable",
        f"line 95 isn't sku,name,cents: {dict(zip(('sku', 'name', 'cents'), bad[93], strict=True))}",
    )
    assert catalog.rows() == before


def test_a_batch_twice_and_its_undo_for_nothing(catalog: Catalog, tmp_path: Path) -> None:
    """The second execution of a batch changes nothing; its undo brings the old row back, and once more does nothing."""
    file = request(tmp_path, ROWS).file
    ctx = Context.of(catalog, idempotency_key="k")
    before, rows = catalog.rows(), Rows(file=file, first=50, count=1)
    for _ in range(2):
        import_rows.handler(ctx, rows)
        assert catalog.rows() == [("S050", "product 50", 50), ("Z", "not in the file", 1)]
    undo = import_rows.undo_handler
    assert undo is not None
    for _ in range(2):
        undo.handler(ctx, rows, Outcome(Status.DONE))
        assert catalog.rows() == before
    import_rows.handler(ctx, rows)
    assert catalog.rows() == before, "an execution that comes after its undo does nothing"


def test_a_file_that_can_not_be_imported(catalog: Catalog, tmp_path: Path) -> None:
    """A file that isn't there, and a SKU that is there twice, are refused before anything is imported."""
    ctx = Context.of(catalog)
    with pytest.raises(Unrecoverable) as twice:
        count_rows.handler(ctx, Source(file=request(tmp_path, [*ROWS, ROWS[3]]).file))
    with pytest.raises(Unrecoverable) as gone:
        count_rows.handler(ctx, Source(file="/nowhere.csv"))
    assert (twice.value.message, gone.value.message) == (
        "S003 is there twice",
        "there is no file /nowhere.csv",
    )


def test_the_module_can_be_served() -> None:
    """A worker finds two operations and the long-running one."""
    served = load_modules(["examples.catalog"]).registry.definitions()
    assert sorted(map(str, served)) == ["count-rows@1.0.0", "import-catalog@1.0.0", "import-rows@1.0.0"]

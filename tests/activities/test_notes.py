"""What a handler leaves for reports: metadata and errors that it dealt with."""

from __future__ import annotations

from typing import Any

import pytest

from activities import Context, EmptyInput, NotSerializable, Outcome, operation
from activities._notes import ERRORS_LIMIT, METADATA_LIMIT, Metadata
from counterstep.reports import fetch_report
from flows import Dag, saga, start
from tests.conftest import Serve
from tests.sample import FAST
from tests.support import World, failure_of, new_id


def test_metadata_is_named_bytes() -> None:
    """It is a mapping of text to bytes; anything else, and what is over 64 KB in all, is refused and changes nothing."""
    metadata = Context.of(None).metadata
    metadata["a"] = b"\x00\xff"
    for key, value in ((1, b""), ("b", "text")):
        with pytest.raises(NotSerializable, match="names of text and values of bytes"):
            metadata[key] = value  # type: ignore[index, assignment]
    with pytest.raises(NotSerializable, match="has room for 65536 bytes in all"):
        metadata["b"] = bytes(METADATA_LIMIT - 3)
    metadata["b"] = bytes(METADATA_LIMIT - 4)
    del metadata["b"]
    assert dict(metadata) == {"a": b"\x00\xff"} == dict(Metadata(metadata.encoded()))
    assert len(metadata) == 1


def test_the_newest_errors_are_kept() -> None:
    """The same exception twice is one line; of more than 32 the newest stay, each cut to 1 KB."""
    ctx = Context.of(None)
    for number in range(ERRORS_LIMIT + 1):
        error = RuntimeError(f"{number} " + "x" * 2000)
        ctx.note_error(error)
        ctx.note_error(error)
    errors = ctx._kept.notes.errors
    assert len(errors) == ERRORS_LIMIT
    assert (errors[0][:15], errors[-1][:16]) == ("RuntimeError: 1", "RuntimeError: 32")
    assert max(map(len, errors)) <= 1024


def make(name: str, **options: Any) -> Any:
    """Make an operation that notes something in each attempt, then fails while its switch is on."""

    @operation(id=name, version="1.0.0", **options)
    async def op(ctx: Context[World], input: EmptyInput) -> None:
        """Note something."""
        ctx.metadata[f"attempt-{ctx.attempt}"] = b"\x01"
        ctx.note_error(ValueError(f"dealt with {ctx.attempt}"))
        if ctx.attempt == 1 or ctx.deps.is_on(f"fail-{name}"):
            raise RuntimeError("down")

    @op.undo
    async def undo(ctx: Context[World], input: EmptyInput, outcome: Outcome[None]) -> None:
        ctx.metadata["undone"] = b"yes"

    return op


@pytest.mark.parametrize("options", [{}, {"placement": "local"}], ids=["remote", "local"])
async def test_notes_are_in_the_report(serve: Serve, world: World, task_queue: str, options: Any) -> None:
    """What was noted over two attempts, by a step that ended well and by one that failed, and by its undo."""
    first, second = make("first", retry=FAST, **options), make("second", retry=FAST, **options)

    @saga(id="noting", version="1.0.0")
    def noting(dag: Dag, params: EmptyInput) -> None:
        """Two in a line."""
        dag.append("first", first, {})
        dag.append("second", second, {})

    world.switch("fail-second")
    async with serve(first, second, noting) as client:
        handle = await start(client, noting, EmptyInput(), id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        done, failed = (await fetch_report(client, handle.id)).children
    assert done.errors == ("ValueError: dealt with 1", "ValueError: dealt with 2")
    assert done.metadata == {"attempt-1": "AQ==", "attempt-2": "AQ=="}
    assert failed.errors == (*done.errors, "ValueError: dealt with 3")
    assert failed.metadata == {**done.metadata, "attempt-3": "AQ=="}
    assert done.undo is not None and done.undo.metadata == {"undone": "eWVz"}

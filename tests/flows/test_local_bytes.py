"""What local steps leave goes out with one workflow task, which Temporal bounds: it is split, and each is bounded."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from activities import Context, Outcome, operation
from flows import Sequence, start
from tests.conftest import Serve
from tests.sample import FAST
from tests.support import World, causes, failure_of, new_id


class Sizes(BaseModel):
    """How many steps, at once or one after the other, and the bytes that each gets and gives."""

    count: int
    given: int = 0
    made: int = 0
    at_once: bool = False


class Text(BaseModel):
    """Bytes in, bytes out."""

    number: int
    text: str
    made: int


@operation(id="give", version="1.0.0", placement="local")
async def give(ctx: Context[World], input: Text) -> str:
    """Give a text."""
    ctx.deps.append("given", str(input.number))
    return "x" * input.made


@give.undo(retry=FAST)
async def take_back(ctx: Context[World], input: Text, outcome: Outcome[str]) -> None:
    ctx.deps.record("undo", str(outcome.status))


class Texts(Sequence[Sizes, int], id="texts", version="1.0.0"):
    """Give texts, and count them."""

    async def run(self, input: Sizes) -> int:
        texts = [Text(number=n, text="x" * input.given, made=input.made) for n in range(input.count)]
        if input.at_once:
            return len(await self.gather(*(self.execute(give, text) for text in texts), limit=input.count))
        for text in texts:
            await self.execute(give, text)
        return len(texts)


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(count=80, made=60_000),
        Sizes(count=80, made=60_000, at_once=True),
        Sizes(count=8, given=900_000, at_once=True),
    ],
    ids=["in a row", "at once", "large inputs"],
)
async def test_local_steps_are_split_by_bytes(
    serve: Serve, world: World, task_queue: str, sizes: Sizes, cache: int
) -> None:
    """Local steps that leave 4.8 MB, or 7.2 MB: the run isn't terminated, each is called once."""
    async with serve(give, Texts, cache=cache) as client:
        handle = await start(client, Texts, sizes, id=new_id(), task_queue=task_queue)
        assert await asyncio.wait_for(handle.result(), 60) == sizes.count
    assert sorted(map(int, world.lines("given"))) == list(range(sizes.count))


async def test_an_output_of_a_local_step_has_a_limit_of_its_own(
    serve: Serve, world: World, task_queue: str
) -> None:
    """1.2 MB come back of a local step: ResultTooLarge, which says what to do; unknown, undone."""
    async with serve(give, Texts) as client:
        handle = await start(
            client, Texts, Sizes(count=4, made=1_200_000), id=new_id(), task_queue=task_queue
        )
        kind, message = causes(await failure_of(handle))[-1]
    assert kind == "ResultTooLarge"
    assert message == (
        "give: the output has 1200013 bytes, 65536 can be recorded of a local operation; "
        "return a reference to where it is kept, or make the operation remote"
    )
    assert (world.lines("given"), world.calls) == (["0"], [("undo", "unknown")])

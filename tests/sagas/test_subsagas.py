"""Subsagas run inline: beside each other, in each other, each with names and an undo order of its own."""

from __future__ import annotations

from activities import EmptyInput
from flows import Dag, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_running import forward, undone
from tests.support import World, causes, failure_of, new_id


@saga(id="pair", version="1.0.0")
def pair(dag: Dag, params: Given) -> Step[Made]:
    """x, then y with what the params say."""
    dag.append("x", work, {})
    return dag.append("y", work, {"number": params.number})


@saga(id="nest", version="1.0.0")
def nest(dag: Dag, params: Given) -> Step[Made]:
    """A subsaga whose params come from outside, handed on whole."""
    return dag.subsaga("t", pair, params)


@saga(id="beside", version="1.0.0")
def beside(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, the same saga twice beside each other, and z with both results."""
    a = dag.append("a", work, {"number": 1})
    s1, s2 = dag.append_parallel(
        dag.step("s1", pair, {"number": a.ref("id")}), dag.step("s2", pair, {"number": 5})
    )
    return dag.append("z", work, {"others": [s1.ref("id"), s2.ref("id")]})


@saga(id="nested", version="1.0.0")
def nested(dag: Dag, params: EmptyInput) -> Step[Made]:
    """x outside, and in a subsaga of a subsaga, which gets its number from outside."""
    x = dag.append("x", work, {"number": 7})
    return dag.subsaga("s", nest, {"number": x.ref("id")})


async def test_one_saga_twice_beside_each_other(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """S13, G35: all steps of both run, each with its params; outside both results are seen."""
    async with serve(work, beside, cache=cache) as client:
        handle = await start(client, beside, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert await handle.result() == Made(id=6, name="z")
    assert sorted(world.calls) == ["a", "s1/x", "s1/y", "s2/x", "s2/y", "z"]


async def test_subsagas_are_undone_independently(serve: Serve, world: World, task_queue: str) -> None:
    """S13, S37: z fails: each subsaga unwinds in its own order, and a last; an inner failure has its full name."""
    world.switch("fail-z")
    async with serve(work, beside) as client:
        handle = await start(client, beside, EmptyInput(), id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        order = undone(world)
        world.switch("fail-s2/x")
        handle = await start(client, beside, EmptyInput(), id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert order.index("s1/y") < order.index("s1/x") < order.index("a") == 4
    assert order.index("s2/y") < order.index("s2/x")
    assert found[1][1] == "step s2/x (work@1.0.0) failed after 1 attempt: RuntimeError: s2/x down"


async def test_a_subsaga_in_a_subsaga(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """G32, G31, S11, S35: s/t/x and x don't meet; the innermost step gets the outermost output."""
    async with serve(work, nested, cache=cache) as client:
        handle = await start(client, nested, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert await handle.result() == Made(id=7, name="s/t/y")
        steps = (await handle.query("status"))["steps"]
    assert forward(world) == ["x", "s/t/x", "s/t/y"]
    assert [steps[name] for name in ("x", "s/t/x", "s/t/y")] == ["done"] * 3

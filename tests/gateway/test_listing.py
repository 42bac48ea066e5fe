"""List: filters, page sizes, tokens; every operation once while operations start and end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.longrunning.operations_pb2 import DeleteOperationRequest, ListOperationsRequest

from flows._operation_name import operation_name
from tests.gateway.conftest import Gate, Served
from tests.support import new_id


async def page(served: Served, **asked: Any) -> Any:
    return await served.stub.ListOperations(ListOperationsRequest(name="operations", **asked))


async def names(served: Served, filter: str, sizes: tuple[int, ...] = (50,), *others: Served) -> list[str]:
    """Follow the tokens to the end, with one page size after another, from one gateway and another."""
    found, token, turn, asked = [], "", 0, (served, *others)
    while True:
        answer = await page(
            asked[turn % len(asked)], filter=filter, page_size=sizes[turn % len(sizes)], page_token=token
        )
        assert len(answer.operations) <= sizes[turn % len(sizes)]
        found += [operation.name for operation in answer.operations]
        token, turn = answer.next_page_token, turn + 1
        if not token:
            return found


async def listed(served: Served, filter: str, count: int) -> list[str]:
    """List, once Temporal's visibility knows as many as there are."""
    while len(found := await names(served, filter)) != count:
        await asyncio.sleep(0.05)
    return found


async def refused(served: Served, **asked: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await page(served, **asked)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return str(raised.value.details())


async def test_filters_choose_by_done_state_and_definition(unworked: Gate) -> None:
    """P17: `done`, AND, OR, NOT, definition by id, version and prefix, state: each gives exactly its own, newest first."""
    async with unworked() as served:
        kind = new_id("kind")
        types = [f"{kind}@1.0.0", f"{kind}@1.0.0", f"{kind}@2.0.0", f"{kind}-b@1.0.0", f"{kind}@2.0.0"]
        ids = [new_id(f"op-{number}") for number in range(5)]
        handles = [await served.start(type_, 1, id) for type_, id in zip(types, ids, strict=True)]
        for handle in handles[:3]:
            await handle.terminate()
        ours = f'definition="{kind}*"'
        await listed(served, f"{ours} AND done=true", 3)
        cases: dict[str, list[int]] = {
            ours: [4, 3, 2, 1, 0],
            f"{ours} AND done = true": [2, 1, 0],
            f"{ours} AND NOT done=true": [4, 3],
            f"{ours} -done:true": [4, 3],
            f"{ours} done!=true": [4, 3],
            f"definition={kind}": [4, 2, 1, 0],
            f"definition={kind}@1.0.0": [1, 0],
            f"{ours} AND definition!='{kind}'": [3],
            f"{ours} AND state=terminated": [2, 1, 0],
            f"{ours} AND state=terminated OR state=running": [4, 3, 2, 1, 0],
            f"{ours} AND (definition={kind}-b OR definition={kind}@1.0.0)": [3, 1, 0],
            f"{ours} AND NOT (done=true OR definition={kind}-b)": [4],
            f"{ours} AND state=completed": [],
        }
        expected = {
            text: [operation_name(ids[number]) for number in chosen] for text, chosen in cases.items()
        }
        assert {text: await names(served, text, (2,)) for text in cases} == expected


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        ("colour=red", "unknown field 'colour'; known are done, definition, state"),
        ("done=maybe", "done is one of true, false, not 'maybe'"),
        ("state=lost", "state is one of running, held,"),
        ("done", "character 5: wanted =, != or : after done, found 'the end'"),
        ("done > true", "character 6: wanted =, != or : after done, found '>'"),
        ("(done=true", "character 11: wanted ')', found 'the end'"),
        ("done=true)", "character 10: wanted AND or OR, found ')'"),
        ("done=true AND", "character 14: wanted a field, found 'the end'"),
        ("OR done=true", "character 1: wanted a field, found 'OR'"),
        ("done=", "character 6: wanted a value, found 'the end'"),
        ('state="held', "can't be read at character 7"),
        ("(" * 30 + "done=true" + ")" * 30, "is nested more than 20 deep"),
        (" OR ".join(["done=true"] * 60), "has more than 50 terms"),
        ("x" * 3000, "has 3000 characters, 2000 are allowed"),
    ],
    ids=lambda value: value[:20],
)
def test_a_filter_that_can_t_be_read_says_where(filter: str, said: str) -> None:
    """P19: INVALID_ARGUMENT, naming the place, or the field."""
    from counterstep.gateway._errors import GatewayError
    from counterstep.gateway._filter import parse

    with pytest.raises(GatewayError) as raised:
        parse(filter)
    assert raised.value.message.startswith(f"filter: {said}")
    assert (raised.value.code, raised.value.reason) == (3, "INVALID_FILTER")


async def test_page_sizes_and_tokens_are_checked(unworked: Gate) -> None:
    """P11, P12, P15: Negative sizes, foreign, altered and borrowed tokens are INVALID_ARGUMENT; too large a size is lowered."""
    async with unworked(page_limit=3) as served:
        kind = new_id("kind")
        for _ in range(4):
            await served.start(kind, 1, new_id())
        filter = f"definition={kind}"
        await listed_small(served, filter, 4)
        first = await page(served, filter=filter, page_size=10_000)
        token = first.next_page_token
        assert (len(first.operations), set(token) <= URL_SAFE) == (3, True)
        assert await refused(served, page_size=-1) == "page_size: must not be negative"
        wrong = "page_token: isn't a token of this list; begin again without one"
        for at in range(len(token)):
            other = "A" if token[at] != "A" else "B"
            altered = f"{token[:at]}{other}{token[at + 1 :]}"
            assert await refused(served, filter=filter, page_token=altered) == wrong
        assert await refused(served, filter="done=false", page_token=token) == wrong
        assert await refused(served, filter=filter, page_token="ü") == wrong
        request = ListOperationsRequest(name="projects/p/operations", filter=filter, page_token=token)
        with pytest.raises(grpc.aio.AioRpcError):
            await served.stub.ListOperations(request)


URL_SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


async def listed_small(served: Served, filter: str, count: int) -> None:
    while len(await names(served, filter, (3,))) != count:
        await asyncio.sleep(0.05)


async def exactly_once(served: Served, total: int, closing: int, between: Callable[[], Any]) -> None:
    """List `total` operations seven at a time, while some close and others start."""
    kind = new_id("kind")
    handles = []
    for _ in range(0, total, 50):
        batch = [served.start(f"{kind}@1.0.0", 1, new_id("op")) for _ in range(min(50, total - len(handles)))]
        handles += await asyncio.gather(*batch)
    filter = f"definition={kind}"
    while await served.client.count_workflows(f"WorkflowType = '{kind}@1.0.0'") is None:
        pass
    while (await served.client.count_workflows(f"WorkflowType = '{kind}@1.0.0'")).count != total:
        await asyncio.sleep(0.05)

    async def disturb() -> None:
        for handle in handles[:: total // closing][:closing]:
            await handle.terminate()
            await served.start(f"{kind}@1.0.0", 1, new_id("later"))
            between()

    disturbing = asyncio.ensure_future(disturb())
    found = await names(served, filter, (7,))
    await disturbing
    first = [name for name in found if name.startswith("operations/op-")]
    assert len(first) == len(set(first)) == total
    assert set(first) == {operation_name(handle.id) for handle in handles}


async def test_each_operation_is_listed_once_while_others_start_and_close(unworked: Gate) -> None:
    """60 operations, 7 a page, while 12 close and 12 start: each of the first 60 exactly once."""
    async with unworked() as served:
        await exactly_once(served, 60, 12, lambda: None)


@pytest.mark.nightly
async def test_a_thousand_operations_are_listed_once(unworked: Gate) -> None:
    """1,000 operations, 7 a page, while 200 close and 200 start: each of the first 1,000 exactly once."""
    async with unworked() as served:
        await exactly_once(served, 1000, 200, lambda: None)


async def test_the_page_size_may_change(unworked: Gate) -> None:
    """P13: Pages of 7, 20 and 1 in turn, from two gateways in turn: nothing twice, nothing missing, newest first."""
    async with unworked() as served, unworked() as other:
        kind = new_id("kind")
        ids = [new_id(f"op-{number}") for number in range(30)]
        for id in ids:
            await served.start(kind, 1, id)
        await listed(served, f"definition={kind}", 30)
        found = await names(served, f"definition={kind}", (7, 20, 1), other)
        assert found == [operation_name(id) for id in reversed(ids)]


async def test_a_flow_that_goes_on_as_new_is_listed_once(gate: Gate) -> None:
    """A range is looked up and continues as new under the exact type: one operation, by its workflow id."""
    async with gate() as served:
        ids = [new_id() for _ in range(4)]
        for id in ids:
            await (await served.start("plain@^2", 1, id)).result()
        wanted = {operation_name(id) for id in ids}
        for filter in (
            "definition=plain AND done=true",
            "definition=plain@2.1.0",
            "definition=plain state=completed",
        ):
            while not wanted <= set(found := await names(served, filter)):
                await asyncio.sleep(0.05)
            assert len(found) == len(set(found))


async def test_an_id_that_is_used_again_is_one_operation(unworked: Gate) -> None:
    """Three runs of one workflow id: listed once, as the newest is."""
    async with unworked() as served:
        kind, id = new_id("kind"), new_id()
        for _ in range(2):
            await (await served.start(kind, 1, id)).terminate()
        await served.start(kind, 1, id)
        while (await served.client.count_workflows(f"WorkflowType = '{kind}'")).count != 3:
            await asyncio.sleep(0.05)
        assert await names(served, f"definition={kind}", (1,)) == [operation_name(id)]
        assert await names(served, f"definition={kind} AND done=true") == []


async def test_deleted_operations_and_our_own_workflows_are_not_listed(unworked: Gate) -> None:
    """A deleted operation disappears from lists at once; its tombstone never shows."""
    async with unworked() as served:
        kind, id = new_id("kind"), new_id()
        await served.start(kind, 1, id)
        await listed(served, f"definition={kind}", 1)
        await served.stub.DeleteOperation(DeleteOperationRequest(name=operation_name(id)))
        assert await names(served, f"definition={kind}") == []
        await asyncio.sleep(0.2)
        shown = await names(served, "")
        assert [name for name in shown if "counterstep-" in name] == []

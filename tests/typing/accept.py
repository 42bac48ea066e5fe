"""What type checkers infer. Never run: ``test_typing.py`` has mypy and pyright read it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn, assert_type

from pydantic import BaseModel
from temporalio.client import Client, WorkflowHandle

from activities import Context, EmptyInput, Failure, Operation, Outcome, Retry, operation
from counterstep.reports import Report
from flows import (
    Dag,
    Decision,
    LongRunning,
    Pending,
    Plan,
    Saga,
    Sequence,
    Step,
    no_undo,
    operation_name,
    saga,
    start,
)


class Cloud:
    async def create(self, cidr: str, token: str) -> str:
        return token


class Spec(BaseModel):
    cidr: str


class Network(BaseModel):
    id: str


@operation(
    id="create-network",
    version="1.0.0",
    timeout=timedelta(minutes=2),
    retry=Retry(5, non_retryable=[KeyError]),
)
async def create_network(ctx: Context[Cloud], input: Spec) -> Network:
    assert_type(ctx.deps, Cloud)
    return Network(id=await ctx.deps.create(input.cidr, ctx.idempotency_key))


@create_network.undo
async def delete_network(ctx: Context[Cloud], input: Spec, outcome: Outcome[Network]) -> None:
    assert_type(outcome.output, Network | None)


@create_network.retry_input
def widen(attempt: int, error: Failure, input: Spec, deps: Cloud) -> Spec:
    return input


@operation(id="count", version="1.0.0")
def count(ctx: Context[Any], input: EmptyInput) -> int:
    return 1


@count.undo(retry=Retry(), timeout=timedelta(seconds=1))
def uncount(ctx: Context[Any], input: EmptyInput, outcome: Outcome[int]) -> None: ...


@operation(id="nothing", version="1.0.0")
async def nothing(ctx: Context[Any], input: list[int] | None) -> None: ...


assert_type(create_network, Operation[Spec, Network])
assert_type(count, Operation[EmptyInput, int])
assert_type(nothing, Operation[list[int] | None, None])


class Inner(Sequence[str, list[Network]], id="inner", version="1.0.0"):
    async def run(self, input: str) -> list[Network]:
        report = await self.execute(create_network, Spec(cidr=input))
        assert_type(report, Report[Spec, Network])
        assert_type(report.input, Spec)
        assert_type(report.output, Network)
        return [report.output]


class Outer(Sequence[EmptyInput, int], id="outer", version="1.0.0"):
    async def run(self, input: EmptyInput) -> int:
        counted = await self.execute(count, EmptyInput(), step="first", retry=Retry(), force=True, key="k")
        assert_type(counted, Report[EmptyInput, int])
        inner = await self.execute(Inner, "10.0.0.0/8")
        assert_type(inner, Report[str, list[Network]])
        series = await self.execute_n(create_network, Spec(cidr="c"), series="nets", n=3)
        assert_type(series, list[Report[Spec, Network]])
        both = await self.gather(
            self.execute(count, EmptyInput()), self.execute(count, EmptyInput(), key="2")
        )
        assert_type(both, list[Report[EmptyInput, int]])
        assert_type(await self.execute(nothing, None), Report[list[int] | None, None])
        assert_type(await self.approval("go", timeout=timedelta(days=1)), Decision)
        await self.wait(timedelta(hours=1), name="soak")
        await self.undo(counted)
        return counted.output


class Progress(BaseModel):
    percent: int = 0


class Import(LongRunning[Spec, list[Network], list[str], Progress], id="import", version="1.0.0"):
    async def run(self, request: Spec) -> list[Network]:
        assert_type(self.state, list[str])
        assert_type(self.metadata, Progress)
        assert_type(self.resume_point, str)
        self.state = [*self.state, request.cidr]
        self.metadata = Progress(percent=40)
        made = await self.execute(create_network, request)
        assert_type(made, Report[Spec, Network])
        await self.wait()
        await self.wait(timedelta(hours=1), name="soak")
        await self.wait(
            sleep=timedelta(1), operations=[operation_name("other")], poll=timedelta(1), timeout=timedelta(2)
        )
        await self.wait(operations=("x",), service=Cloud, raise_errors=True)
        if request.cidr:
            return [made.output]
        return await self.wait(timedelta(days=365), resume_point="next-year")


class Parent(Sequence[EmptyInput, int], id="parent", version="1.0.0"):
    async def run(self, input: EmptyInput) -> int:
        made = await self.execute(Inner, "10.0.0.0/8", child=True, step="net", hold=False)
        assert_type(made, Report[str, list[Network]])
        counted = await self.execute(inner, EmptyInput(), child=True)
        assert_type(counted, Report[EmptyInput, int])
        assert_type(await self.execute(inner, EmptyInput(), hold=False), Report[EmptyInput, int])
        return counted.output


async def never(operation: Import) -> None:
    assert_type(await operation.wait(resume_point="x"), NoReturn)


async def starting(client: Client) -> None:
    year = await start(client, Import, Spec(cidr="c"), id="import")
    assert_type(year, WorkflowHandle[Any, list[Network]])
    handle = await start(client, Inner, "10.0.0.0/8", id="a")
    assert_type(handle, WorkflowHandle[Any, list[Network]])
    assert_type(await handle.result(), list[Network])
    by_name = await start(client, "inner@^1", "10.0.0.0/8", id="b", memo={"resume_from": "a"})
    assert_type(by_name, WorkflowHandle[Any, Any])


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: EmptyInput) -> Step[int]:
    assert_type(dag.append("network", create_network, {"cidr": "10.0.0.0/8"}), Step[Network])
    return dag.append("b", count, {}, undo=no_undo, retry=Retry(), timeout=timedelta(1), pivot=True)


@saga(id="outer", version="1.0.0")
def outer(dag: Dag, params: Spec) -> None:
    a, b = dag.append_parallel(dag.step("a", create_network, params), dag.step("b", inner, {}))
    assert_type(a, Step[Network])
    assert_type(b, Step[int])
    assert_type(dag.step("c", create_network, params), Pending[Network])
    assert_type(dag.step("d", create_network, params, after=[a, b]), Step[Network])
    assert_type(dag.subsaga("e", inner, {}), Step[int])
    assert_type(dag.flow("f", inner, {}), Step[int])
    assert_type(dag.flow("g", Inner, "10.0.0.0/8", after=[a]), Step[list[Network]])


assert_type(inner, Saga[EmptyInput, int])
assert_type(outer, Saga[Spec, None])
assert_type(outer.plan(Spec(cidr="c")), Plan)

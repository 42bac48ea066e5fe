"""What type checkers refuse: each line with an ignore is an error; an ignore in vain is one too."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio.client import Client

from activities import Context, Failure, Operation, Retry, operation
from flows import Dag, LongRunning, Sequence, Step, saga, start


class Spec(BaseModel):
    cidr: str


class Network(BaseModel):
    id: str


@operation(id="create", version="1.0.0")
async def create(ctx: Context[Any], input: Spec) -> Network:
    return Network(id=input.cidr)


@operation(id="length", version="1.0.0")
def length(ctx: Context[Any], input: str) -> int:
    return len(input)


class Deploy(Sequence[Spec, Network], id="deploy", version="1.0.0"):
    async def run(self, input: Spec) -> Network:
        await self.execute(create, Network(id="a"))  # type: ignore[misc]
        await self.execute(create, "10.0.0.0/8")  # type: ignore[misc]
        await self.execute(length, 3)  # type: ignore[misc]
        await self.execute(length)  # type: ignore[call-overload]
        await self.execute(length, "a", series="s")  # type: ignore[call-overload]
        await self.execute(create, input, timeout=timedelta(1))  # type: ignore[call-overload]
        await self.execute_n(create, "a", series="s", n=1)  # type: ignore[misc]
        await self.execute_n(create, input, n=1)  # type: ignore[call-arg]
        await self.execute(Inner, "a")  # type: ignore[misc]
        await self.execute(Inner, 1, retry=Retry())  # type: ignore[call-overload]
        await self.execute(create, input, child=True)  # type: ignore[call-overload]
        await self.execute(Inner, "a", child=True)  # type: ignore[misc]
        await self.wait(3)  # type: ignore[arg-type]
        number: str = (await self.execute(length, "a")).output  # type: ignore[assignment]
        text: str = (await self.execute(Inner, 1)).output  # type: ignore[assignment]
        return (await self.execute(length, number + text)).output  # type: ignore[return-value]


class Inner(Sequence[int, int], id="inner", version="1.0.0"):
    async def run(self, input: str) -> int:  # type: ignore[override]
        return 1


async def starting(client: Client) -> None:
    await start(client, Deploy, "10.0.0.0/8", id="a")  # type: ignore[misc]
    await start(client, Deploy, Spec(cidr="c"))  # type: ignore[call-overload]
    handle = await start(client, Deploy, Spec(cidr="c"), id="a")
    result: str = await handle.result()  # type: ignore[assignment]
    print(result)


@operation(id="one", version="1.0.0")  # type: ignore[arg-type]
async def one(input: Spec) -> Network:
    return Network(id="a")


@operation(id="no-context", version="1.0.0")  # type: ignore[arg-type]
def no_context(ctx: str, input: Spec) -> Network:
    return Network(id="a")


@create.retry_input  # type: ignore[arg-type]
def widen(attempt: int, error: Failure, input: Network, deps: Any) -> Network:
    return input


other: Operation[Spec, str] = create  # type: ignore[assignment]
operation(id="a")  # type: ignore[call-arg]
operation(id="a", version="1.0.0", placement="near")  # type: ignore[arg-type]
operation(id="a", version="1.0.0", timeout=3)  # type: ignore[arg-type]


@saga(id="saga", version="1.0.0")
def build(dag: Dag, params: Spec) -> Step[int]:
    dag.append("a", create, {}, tiemout=3)  # type: ignore[call-arg]
    dag.append("a", 3, {})  # type: ignore[arg-type]
    dag.append_parallel(3)  # type: ignore[call-overload]
    return dag.append("a", create, {})  # type: ignore[arg-type]


build.plan(3)  # type: ignore[arg-type]


class Import(LongRunning[Spec, int, list[str], None], id="import", version="1.0.0"):
    async def run(self, request: Spec) -> int:
        self.state = {"a": 1}  # type: ignore[assignment]
        self.state.append(1)  # type: ignore[arg-type]
        self.metadata = 1  # type: ignore[assignment]
        self.resume_point = "x"  # type: ignore[misc]
        await self.wait(5)  # type: ignore[call-overload]
        await self.wait(operations=[1])  # type: ignore[list-item]
        return 1


class Returns(LongRunning[Spec, int, None, None], id="returns", version="1.0.0"):
    async def run(self, request: Spec) -> str:  # type: ignore[override]
        return ""

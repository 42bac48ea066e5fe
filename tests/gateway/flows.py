"""Flows that the gateway's tests serve: each ends in one of the ways there are."""

from __future__ import annotations

from datetime import timedelta

from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status
from pydantic import BaseModel, model_validator
from temporalio.exceptions import ApplicationError

from activities import Context, Outcome, operation
from flows import Dag, LongRunning, Policy, Sequence, Step, saga
from tests.sample import a, b
from tests.support import World


class Trip(BaseModel):
    flight: str
    seats: int = 1


class Booked(BaseModel):
    flight: str
    seats: int


@operation(id="refusing", version="1.0.0")
async def refusing(ctx: Context[World], input: str) -> str:
    """Raise an error of the kind that the input names."""
    if input == "status":
        info = error_details_pb2.ErrorInfo(reason="NO_SEATS", domain="trips")
        status = Status(code=code_pb2.FAILED_PRECONDITION, message="no seats left")
        status.details.add().Pack(info)
        status.details.add().Pack(error_details_pb2.RetryInfo())
        raise ApplicationError("no seats left", status, type="NoSeats", non_retryable=True)
    if input == "zero":
        raise ApplicationError("?", Status(message="all is well"), non_retryable=True)
    raise ApplicationError("not here", type=input, non_retryable=True)


@operation(id="unfixable", version="1.0.0")
async def unfixable(ctx: Context[World], input: int) -> int:
    """Succeed, and be beyond undoing."""
    return input


@unfixable.undo
async def cannot(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    raise ApplicationError("stays", non_retryable=True)


class Book(Sequence[Trip, Booked], id="book", version="1.0.0"):
    """Book a trip, once `a` lets it."""

    async def run(self, input: Trip) -> Booked:
        await self.execute(a, input.seats)
        return Booked(flight=input.flight, seats=input.seats)


class Losing(BaseModel):
    """Takes what it can't write."""

    x: float = 0.0

    @model_validator(mode="after")
    def _grow(self) -> Losing:
        self.x = float("inf")
        return self


class Lossy(Sequence[Losing, None], id="lossy", version="1.0.0"):
    """Take an input that JSON can't hold."""

    async def run(self, input: Losing) -> None:
        return None


class Nothing(Sequence[int, None], id="nothing-comes", version="1.0.0"):
    """Give nothing back."""

    async def run(self, input: int) -> None:
        return None


class Plain(Sequence[int, list[int]], id="plain", version="2.1.0"):
    """Give a list back."""

    async def run(self, input: int) -> list[int]:
        return [input, 2**60]


class Refused(Sequence[str, str], id="refused", version="1.0.0"):
    """Fail as the input says, after a step that is undone."""

    async def run(self, input: str) -> str:
        await self.execute(a, 1)
        return (await self.execute(refusing, input)).output


class Leaving(Sequence[int, int], id="leaving", version="1.0.0"):
    """Fail, with a step that can't be undone."""

    async def run(self, input: int) -> int:
        await self.execute(unfixable, input)
        return (await self.execute(refusing, "RuntimeError") and 0) or 0


class Keeping(Sequence[str, str], id="keeping", version="1.0.0", policy=Policy(on_failure="keep")):
    """Fail, and keep what was done."""

    async def run(self, input: str) -> str:
        return (await self.execute(refusing, input)).output


class Holding(Sequence[str, str], id="holding", version="1.0.0", policy=Policy(on_failure="hold")):
    """Fail, and wait for an operator."""

    async def run(self, input: str) -> str:
        return (await self.execute(refusing, input)).output


class Late(Sequence[int, int], id="late", version="1.0.0", policy=Policy(deadline=timedelta(seconds=1))):
    """Take longer than its deadline."""

    async def run(self, input: int) -> int:
        await self.wait(timedelta(hours=1))
        return input


class Waiting(Sequence[int, int], id="waiting", version="1.0.0"):
    """Wait for a time far away."""

    async def run(self, input: int) -> int:
        await self.wait(timedelta(days=365))
        return input


@saga(id="pair", version="1.0.0")
def pair(dag: Dag, params: int) -> Step[int]:
    """Do two things."""
    first = dag.append("a", a, params)
    return dag.append("b", b, first.ref())


class Shown(BaseModel):
    p: int | None = None
    q: int | None = None


class Counting(LongRunning[int, dict[str, int], list[int], Shown], id="counting", version="1.0.0"):
    """Go through as many legs as it is told, and show each."""

    async def run(self, input: int) -> dict[str, int]:
        self.metadata = Shown(p=len(self.state))
        if len(self.state) < input:
            self.state = [*self.state, len(self.state)]
            await self.wait(resume_point=f"leg-{len(self.state)}")
        await self.execute(a, input)
        self.metadata = Shown(q=input)
        return {"n": len(self.state)}


class Quiet(LongRunning[int, None, int, None], id="quiet", version="1.0.0"):
    """Show nothing."""

    async def run(self, input: int) -> None:
        if self.resume_point == "":
            await self.wait(resume_point="second")
        await self.execute(a, input)


class Resting(LongRunning[int, int, int, None], id="resting", version="1.0.0"):
    """Rest, and go on in another leg."""

    async def run(self, input: int) -> int:
        if self.resume_point == "":
            await self.wait(timedelta(seconds=1), resume_point="rested")
        return (await self.execute(a, input)).output


FLOWS = (Book, Nothing, Plain, Refused, Leaving, Keeping, Holding, Late, Waiting, pair)
EVERYTHING = (*FLOWS, a, b, refusing, unfixable)
LONG = (Counting, Quiet, Resting, a)

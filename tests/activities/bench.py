"""One execution of an operation, in Temporal's activity environment."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import pydantic_core
import pytest
from pydantic import BaseModel
from temporalio.common import RawValue, RetryPolicy
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import Context, EnvironmentSecrets, Operation, operation
from activities._run import CURRENT_HEADER, Host, activities_for
from activities._wire import HEADER, StepHeader, json_payload


@dataclass
class FakeClient:
    """Stands in for the worker's client: keeps the marks that were written."""

    marks: list[Any] = field(default_factory=list)
    data_converter: DataConverter = DataConverter.default

    def get_async_activity_handle(self, *, task_token: bytes) -> FakeClient:
        return self

    async def heartbeat(self, mark: Any) -> None:
        self.marks.append(mark)


class Deps(list[Any]):
    """What handlers recorded."""


@dataclass
class Bench:
    """Runs one execution of an operation."""

    executor: Executor
    deps: Deps = field(default_factory=Deps)
    client: FakeClient = field(default_factory=FakeClient)
    attempt: int = 1
    attempts: int = 1
    mark: Any = None
    header: StepHeader = StepHeader(run="test-run")
    non_retryable: tuple[str, ...] = ()

    async def run(
        self, op: Operation[Any, Any], *args: Any, undo: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """Run it; give the output and what travels beside it."""
        env = ActivityEnvironment(client=self.client)  # type: ignore[arg-type]
        env.info = replace(
            env.info,
            attempt=self.attempt,
            activity_id="step.undo" if undo else "step",
            activity_type="op@1.0.0",
            is_local=False,
            heartbeat_timeout=None,
            heartbeat_details=[] if self.mark is None else [self.mark],
            retry_policy=RetryPolicy(
                maximum_attempts=self.attempts, non_retryable_error_types=list(self.non_retryable)
            ),
        )
        host = Host(self.deps, EnvironmentSecrets(), self.executor)
        CURRENT_HEADER.set(self.header)
        function = activities_for(op, lambda: host)[1 if undo else 0]
        result: RawValue = await env.run(function, *(RawValue(json_payload(a)) for a in args))
        beside = result.payload.metadata.get(HEADER, b"{}")
        return pydantic_core.from_json(result.payload.data), pydantic_core.from_json(beside)

    async def fail(self, op: Operation[Any, Any], *args: Any, undo: bool = False) -> ApplicationError:
        """Run it; give how it fails."""
        with pytest.raises(ApplicationError) as caught:
            await self.run(op, *args, undo=undo)
        return caught.value


def entry(error: ApplicationError) -> Any:
    """Give what our code tells beside a failure."""
    return error.details[-1][HEADER] if error.details else None


class Spec(BaseModel):
    n: int


def op_of(*steps: Any, **options: Any) -> Operation[Any, Any]:
    """Make an operation that raises or returns the next of ``steps`` at each call."""
    left = list(steps)

    @operation(id="op", version="1.0.0", **options)
    async def op(ctx: Context[Deps], input: Spec) -> Any:
        ctx.deps.append(("call", input.n, ctx.attempt))
        step = left.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    return op

"""A sequence whose body is data: a list of calls, so that a test reads as calls in, values out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from temporalio.exceptions import ApplicationError

from activities import CounterstepError, Operation, Retry
from counterstep.reports import Report
from flows import Policy, Sequence, SeriesFailed
from tests import script_operations as ops
from tests.sample import FAST


class Do(BaseModel):
    """One thing to do: by default, execute an operation.

    Attributes:
        op: an operation's name; or ``inner``, ``inner-kept`` (inline flows), ``gather``, ``undo``, ``fail``.
        input: of the operation; the step's name for ``undo``, the message for ``fail``.
        calls: what an inner flow does, or what runs in parallel.
        limit: of ``gather``.
        catch: give a failure as a value, and go on.
        child: run an inner flow as a child workflow.
    """

    op: str
    input: Any = None
    step: str | None = None
    retry: Retry | None = None
    force: bool = False
    key: str | None = None
    series: str | None = None
    n: int = 0
    calls: list[Do] = []
    limit: int = 16
    catch: bool = False
    child: bool = False


def do(op: str, input: Any = None, **more: Any) -> Do:
    """Write one line of a script."""
    return Do(op=op, input=input, **more)


def shown(report: Report[Any, Any]) -> dict[str, Any]:
    """Give what tests look at."""
    order = report.execution_series.order if report.execution_series else None
    return {
        "step": report.step,
        "id": report.id,
        "outcome": str(report.outcome),
        "output": to_jsonable_python(report.result[0]) if report.result else None,
        "order": order,
        "key": report.key,
        "at": report.timestamp.isoformat() if report.timestamp else None,
    }


class Body:
    """Interprets a script within a sequence."""

    def __init__(self, flow: Sequence[Any, Any]) -> None:
        self.flow = flow
        self.reports: dict[str, Report[Any, Any]] = {}

    async def run(self, script: list[Do]) -> list[Any]:
        return [await self.caught(line) for line in script]

    async def caught(self, line: Do) -> Any:
        try:
            return await self.line(line)
        except CounterstepError as error:
            if not line.catch:
                raise
            return {"error": type(error).__name__, "message": error.message, **_of(error)}

    async def line(self, line: Do) -> Any:
        if line.op == "gather":
            return await self.flow.gather(*map(self.caught, line.calls), limit=line.limit)
        if line.op == "undo":
            return await self.flow.undo(self.reports[line.input])
        if line.op == "fail":
            raise ApplicationError(line.input, type="Wanted")
        if line.series is not None:
            return await self.series(line)
        return self.keep(await self.call(line))

    def call(self, line: Do) -> Awaitable[Report[Any, Any]]:
        if line.op in INNER:
            return self.flow.execute(
                INNER[line.op],
                line.calls,
                step=line.step,
                force=line.force,
                key=line.key,
                child=line.child,
            )
        return self.flow.execute(
            _operation(line.op), line.input, step=line.step, retry=line.retry, force=line.force, key=line.key
        )

    async def series(self, line: Do) -> Any:
        op, name = _operation(line.op), line.series or ""
        reports = await self.flow.execute_n(
            op, line.input, series=name, n=line.n, retry=line.retry, key=line.key
        )
        return [self.keep(report) for report in reports]

    def keep(self, report: Report[Any, Any]) -> dict[str, Any]:
        self.reports[report.step] = report
        return shown(report)


def _operation(name: str) -> Operation[Any, Any]:
    return ops.NAMED[name]


def _of(error: CounterstepError) -> dict[str, Any]:
    report = getattr(error, "report", None)
    found = {} if report is None else shown(report)
    if isinstance(error, SeriesFailed):
        found["reports"] = [shown(r) for r in error.reports]
    return found


class Script(Sequence[list[Do], list[Any]], id="script", version="1.0.0"):
    """Run a script; unwind on failure."""

    async def run(self, input: list[Do]) -> list[Any]:
        return await Body(self).run(input)


class Kept(Sequence[list[Do], list[Any]], id="script", version="1.0.0", policy=Policy(on_failure="keep")):
    """Run a script; keep on failure. The same definition as ``Script``, its policy edited."""

    async def run(self, input: list[Do]) -> list[Any]:
        return await Body(self).run(input)


class Inner(Sequence[list[Do], list[Any]], id="inner", version="1.0.0"):
    """Run a script inside another; unwind on failure."""

    async def run(self, input: list[Do]) -> list[Any]:
        return await Body(self).run(input)


class InnerKept(
    Sequence[list[Do], list[Any]], id="inner-kept", version="1.0.0", policy=Policy(on_failure="keep")
):
    """Run a script inside another; keep on failure."""

    async def run(self, input: list[Do]) -> list[Any]:
        return await Body(self).run(input)


INNER: dict[str, type[Sequence[list[Do], list[Any]]]] = {"inner": Inner, "inner-kept": InnerKept}
__all__ = ["FAST", "Do", "Inner", "InnerKept", "Kept", "Script", "do", "shown"]

"""A flow inside a flow, inline: a namespace of its parent, unwound before its failure reaches the parent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from activities import CounterstepError, DefinitionError, NotSerializable, Status
from activities._failure import Failure
from counterstep.reports import Report, report_id
from flows._calls import call_digest
from flows._errors import SequenceFailed, first_of, original, unwinds
from flows._flow import unwind_scope
from flows._scope import Options, Scope
from flows._step import wait_for

if TYPE_CHECKING:
    from flows._sequence import AnySequence

AnyReport = Report[Any, Any]


async def execute_inline(at: Scope, cls: AnySequence, input: Any, options: Options) -> AnyReport:
    """Execute a sequence inline, or answer from an equal call.

    Raises:
        SequenceFailed: with its report, after it was unwound by its own policy.
        DefinitionError: when it can't be inline.
    """
    if not cls._inline:
        raise DefinitionError(
            f"{cls.definition} is a long-running operation, which is a run of its own and can't be inline; "
            "say child=True, or start it and wait for it by its name"
        )
    data = cls.input.dump(input, f"{at.path}{cls.definition}: input")
    digest = call_digest("flow", str(cls.definition), data, options.key)

    async def new() -> AnyReport:
        report = await _new(at, cls, cls.input.load_value(data, str(cls.definition)), options)
        at.run.calls.add(digest, report)
        return report

    return await (new() if options.force else at.once(digest, new))


async def _new(at: Scope, cls: AnySequence, typed: Any, options: Options) -> AnyReport:
    at.ending()
    names = at.run.names
    name = names.explicit(at.path, options.step) if options.step else names.give(at.path, cls.definition.id)
    inner = Scope(at.run, cls.definition, cls.policy, inside=(at, name))
    inner.input = typed
    at.children.append(lambda: flow_report(inner, name))
    instance = cls()
    instance._scope = inner
    with at.working.at_work():
        try:
            value = await cls._body(instance, typed)
            inner.end(Status.DONE, (_checked(cls, value),))
        except BaseException as error:
            if not unwinds(error):
                raise
            raise await _failed(at, inner, name, first_of(error)) from first_of(error)
        at.records += inner.records
        return flow_report(inner, name)


async def _failed(at: Scope, inner: Scope, name: str, error: BaseException) -> BaseException:
    """Unwind an inner flow by its own policy, and give what its parent sees; what is left is the parent's."""
    inner.end(Status.FAILED, error=error)
    cancelled = isinstance(error, asyncio.CancelledError)
    if not at.run.keeps(inner.policy) and not at.run.control.ending and at.run.guard.error is None:
        task = asyncio.create_task(_unwound(inner, original(Failure.of(error))))
        cancelled = await wait_for([task]) or cancelled
        task.result()
    at.records += inner.records
    if cancelled:
        return asyncio.CancelledError(f"cancelled in {name}")
    return SequenceFailed.of(
        f"{name} ({inner.definition}) failed: {Failure.of(error).message}", flow_report(inner, name)
    )


async def _unwound(inner: Scope, cause: Failure) -> None:
    await inner.settle()
    await unwind_scope(inner, cause)


def _checked(cls: AnySequence, value: Any) -> Any:
    who = f"{cls.definition}: result"
    try:
        return cls.output.load_value(cls.output.dump(value, who), who)
    except CounterstepError as error:
        raise NotSerializable(error.message) from None


def flow_report(scope: Scope, name: str) -> AnyReport:
    """Make the report of a flow as it stands, with its children."""
    run = scope.run
    return Report(
        id=report_id(run.identity(name, run.header())),
        definition=scope.definition,
        step=name,
        input=scope.input,
        outcome=scope.outcome,
        timestamp=scope.finished,
        error=scope.error,
        children=tuple(run.with_undo(child()) for child in scope.children),
        scheduled=scope.began,
        finished=scope.finished,
        is_flow=True,
        result=scope.result,
    )

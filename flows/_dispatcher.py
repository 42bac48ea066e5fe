"""The workflow behind every type that is no sequence's exact one: sagas, ranges, bare ids, mistakes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pydantic_core
from temporalio import workflow
from temporalio.common import RawValue, VersioningBehavior
from temporalio.exceptions import ApplicationError

from activities import Definition, InvalidInput
from activities._json import Json
from activities._schema import Schema
from counterstep.reports import CLAIM, deployment_of
from flows._breath import breathe
from flows._carried_step import error_of
from flows._carry import KEY, Carried
from flows._errors import original
from flows._flow import Flow
from flows._inline import flow_report
from flows._interpreter import Interpreter
from flows._linear_report import live_workflow_report
from flows._metadata import FlowMetadata
from flows._metrics import count_flow
from flows._operated import Operated
from flows._recorded import Recorded
from flows._reset import ResetGuard
from flows._resolved import Resolved, resolve
from flows._resume import Owner, wanted
from flows._run import Run
from flows._scope import Scope
from flows._start_input import start_value
from flows._step import wait_for

CARRIED = f'{{"{KEY}":'.encode()
_ANY: Schema[Any] = Schema(Any)


class Dispatching(Operated):
    """Resolves a workflow type; runs a saga's plan, and hands a sequence on to its exact type."""

    _plan: Recorded
    _state = "resolving"
    _resolving = True

    @workflow.query(name="status", description="The run's state, and each step's")
    def _status(self) -> dict[str, Any]:
        if hasattr(self, "_scope"):
            return self._at.run.board.view()
        return {"flow": workflow.info().workflow_type, "state": self._state, "steps": {}}

    @workflow.query(name="metadata", description="The flow's progress")
    def _progress(self) -> dict[str, Any]:
        if hasattr(self, "_scope"):
            return self._at.run.board.metadata().model_dump(mode="json")
        return FlowMetadata(flow=workflow.info().workflow_type, state=self._state).model_dump(mode="json")

    @workflow.query(name="plan", description="The recorded plan: what --type saga takes as its input")
    def _recorded(self) -> Json:
        return self._plan.to_json() if hasattr(self, "_plan") else None

    @workflow.query(
        name="deployment", description="A run of an action: its jobs, errors and data; of one job"
    )
    def _deployment(self, job: str | None = None) -> Json:
        if not hasattr(self, "_scope"):
            return None
        view, report = self._at.run.board.view(), flow_report(self._at, "")
        cause = original(report.error) if report.error else None
        made = deployment_of(report, view, workflow.info().workflow_id, cause)
        return (made.of_job(job) if job is not None else made).model_dump(mode="json")

    @workflow.query(
        name="workflow-report", description="A run of a linear workflow, as seed automa reports it"
    )
    def _workflow_report(self) -> Json:
        if not hasattr(self, "_scope"):
            return None
        return live_workflow_report(self._at, self._plan.to_json()).to_json()

    async def _dispatch(self, args: Sequence[RawValue]) -> Json:
        guard = ResetGuard()
        guard.see_start()
        carried = _carried(args)
        if carried is not None and not carried.plan:
            raise RuntimeError(
                f"no worker here knows {workflow.info().workflow_type}, whose next leg this is; serve it again"
            )
        if carried is not None:
            carried.control(self._asked)
            await breathe(self._asked, len(carried.records))
            return await self._interpret(carried.plan, guard, carried)
        given = [_readable(raw) for raw in args]
        resolving = asyncio.create_task(resolve(workflow.info().workflow_type, given))
        cancelled = await wait_for([resolving])
        try:
            _begins_anew(resolved := resolving.result())
        except ApplicationError:
            self._state = "refused"
            count_flow(workflow.info().workflow_type, self._state)
            raise
        if cancelled:
            self._asked.cancel()  # counts where the plan begins: its first steps may have been done before
        if resolved.flow is not None:
            if cancelled:
                raise asyncio.CancelledError
            workflow.continue_as_new(args=list(args), workflow=resolved.flow)
        return await self._interpret(resolved.text, guard)

    async def _interpret(self, text: str, guard: ResetGuard, carried: Carried | None = None) -> Json:
        self._plan, self._resolving = (plan := Recorded(text)), False
        await breathe(self._asked, len(plan.after))
        definition = Definition(plan.head.id, plan.head.version, plan.head.description)
        self._scope = scope = Scope(Run(definition, guard, self._asked), definition, plan.head.policy)
        interpreter = Interpreter(scope, plan, carried)
        flow = Flow(scope, _ANY, interpreter.carry)
        if carried is not None and carried.phase == "unwinding":
            return await flow.unwind_on(error_of(carried.cause))
        return await flow.main(interpreter.run)


def _begins_anew(resolved: Resolved) -> None:
    """Refuse a plan that is to go on from an earlier run: all its steps would run again, beside what they did there.

    Raises:
        InvalidInput: saying what to do instead.
    """
    ref = None if resolved.flow is not None else wanted()
    if ref is not None:
        who = workflow.info().workflow_type
        raise InvalidInput(
            f"memo resume_from: {who} runs a plan, and a plan can't go on from another run; "
            f"start without it, once undo of {ref.workflow_id} has undone what is left there"
        )


def _carried(args: Sequence[RawValue]) -> Carried | None:
    """Read what the run before this one handed on, if it did."""
    if workflow.info().continued_run_id is None:
        return None
    if len(args) != 1 or args[0].payload.metadata.get("encoding") != b"json/plain":
        return None
    data = args[0].payload.data
    return Carried.unpack(pydantic_core.from_json(data)) if data.startswith(CARRIED) else None


def _readable(raw: RawValue) -> dict[str, Json]:
    """Give an input as JSON, or why it can't be read."""
    try:
        return {"json": start_value(raw, workflow.info().workflow_type)}
    except InvalidInput as error:
        return {"error": error.message}


@workflow.defn(dynamic=True)
class Dispatcher(Dispatching):
    """The workflow of every type that is no sequence's exact one."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        """Resolve, and go on.

        Raises:
            UnknownFlow, InvalidInput, InvalidPlan: the run fails at its first task.
        """
        return await self._dispatch(args)


@workflow.defn(dynamic=True, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingDispatcher(Dispatching):
    """The dispatcher of a worker with a deployment version; servers refuse a behaviour from any other."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        """Resolve, and go on.

        Raises:
            UnknownFlow, InvalidInput, InvalidPlan: the run fails at its first task.
        """
        return await self._dispatch(args)


@workflow.defn(name=CLAIM)
class Claim:
    """Records who owns the undoing of a run: its workflow id is the claim, and starts only once."""

    @workflow.run
    async def run(self, owner: Owner) -> Owner:
        """Say who owns it."""
        return owner

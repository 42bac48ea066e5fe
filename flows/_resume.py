"""Going on from an earlier run: the run is found, claimed, read, and its steps become this run's own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError

from activities import Failure, InvalidInput, Status
from activities._failure import describe
from activities._json import Json
from activities._settled import Settled
from activities._wire import StepHeader, Verdict
from counterstep.reports import CLAIM
from flows._undo import UndoRecord, UndoSpec

FIND = "counterstep-find-run"
READ = "counterstep-read-run"
_TIMEOUT = timedelta(minutes=5)


class RunRef(BaseModel):
    """A run by its ids.

    Attributes:
        workflow_id: of the run.
        run_id: of the run; the newest one of the workflow id if it isn't given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow_id: str
    run_id: str | None = None

    @classmethod
    def of(cls, value: Any, who: str) -> RunRef:
        """Read what names a run: a workflow id, or ``{"workflow_id", "run_id"}``.

        Raises:
            InvalidInput: when it is something else.
        """
        try:
            return cls.model_validate({"workflow_id": value} if isinstance(value, str) else value)
        except ValidationError as error:
            raise InvalidInput(
                f"{who} must be a workflow id, or its workflow_id and run_id: {describe(error)}"
            ) from None


class Owner(BaseModel):
    """Who took a run's undoing over.

    Attributes:
        workflow_id: of the owner.
        origin: of the owner.
        undoes: whether it undoes the run, instead of going on from it.
    """

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    origin: str
    undoes: bool = False


class Found(BaseModel):
    """A closed run that may be taken over.

    Attributes:
        ref: its ids.
        origin: where its flow began.
    """

    model_config = ConfigDict(frozen=True)

    ref: RunRef
    origin: str


class Taken(BaseModel):
    """A step of an earlier run, as it was recorded.

    Attributes:
        step: its name there.
        digest: what makes calls equal.
        definition: of its operation, as ``id@version``.
        description: of its operation.
        input: the original input.
        key: the call's own key.
        status: how it ended.
        output: JSON, in a list of one; empty where there is none.
        skipped: the reason of a skip.
        verdict: of its executions.
        header: that makes its idempotency key.
        timestamp: ISO time of its end.
        undo: how it is undone, if it can be.
        error: its failure, if it has one.
        flow: of a child flow that was called: the namespace of its steps.
        run: of such a child that failed and left something: its run.
        given: of one that an operator skipped: the output that came with it, in a list of one, or nothing in an empty
            one. Its status stays what it was, for its undo.
    """

    model_config = ConfigDict(frozen=True)

    step: str
    digest: str
    definition: str
    description: str = ""
    input: Json
    key: str | None = None
    status: Status
    output: tuple[Json, ...] = ()
    skipped: str | None = None
    verdict: dict[str, Json] = {}
    header: StepHeader
    timestamp: str | None = None
    undo: UndoSpec | None = None
    error: Failure | None = None
    flow: str = ""
    run: RunRef | None = None
    given: tuple[Json, ...] | None = None

    @property
    def carried(self) -> Verdict:
        """What is known of a step that runs again; one that succeeded left its effect, whatever comes."""
        verdict = Verdict.from_json(self.verdict)
        return replace(verdict, failures=0, losses=0, unknown=verdict.unknown or self.ended_well)

    @property
    def answers(self) -> bool:
        """Whether an equal call need not run again."""
        return self.ended_well or self.given is not None

    @property
    def answer(self) -> tuple[Status, tuple[Json, ...]]:
        """How it ended for its flow, and with which output."""
        return (self.status, self.output) if self.given is None else (Status.SKIPPED, self.given)

    @property
    def ended_well(self) -> bool:
        """Whether it ended as it should have, whatever an operator said."""
        return self.status in (Status.DONE, Status.SKIPPED)

    @property
    def settled(self) -> Settled:
        """How it ended, as its undo is told."""
        error = None if self.error is None else self.error.as_error()
        skipped = self.skipped if self.given is None else None
        return Settled(
            self.status, Verdict.from_json(self.verdict), self.output, error=error, skipped=skipped
        )

    def record(self, order: int) -> UndoRecord | None:
        """Give what this run needs to undo it."""
        if self.undo is None:
            return None
        header = self.header.model_copy(update={"run": workflow.info().run_id})
        return UndoRecord(order, self.step, self.definition, self.undo, self.input, header, self.settled)


class TakenOver(BaseModel):
    """What an earlier run left, in the order in which its steps were scheduled."""

    model_config = ConfigDict(frozen=True)

    steps: tuple[Taken, ...] = ()


def wanted() -> RunRef | None:
    """Read the memo ``resume_from``: a workflow id, or ``{"workflow_id", "run_id"}``.

    Raises:
        InvalidInput: when it is something else.
    """
    value: Any = workflow.memo_value("resume_from", default=None)
    return None if value is None else RunRef.of(value, "memo resume_from")


async def take_over(ref: RunRef) -> TakenOver:
    """Find, claim and read an earlier run.

    Raises:
        InvalidInput: when it is open, gone, of another definition, or taken over by somebody else.
    """
    info = workflow.info()
    me = Owner(workflow_id=info.workflow_id, origin=info.original_execution_run_id)
    found: Found = await ask(
        FIND, ref, me, info.workflow_type, result_type=Found, summary="find the earlier run"
    )
    # reading the run says whose claim it is, if it is anybody's
    with suppress(WorkflowAlreadyStartedError, ChildWorkflowError):
        await workflow.execute_child_workflow(
            CLAIM,
            me,
            id=claim_id(found.ref.workflow_id, found.origin),
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=f"{me.workflow_id} goes on from {found.ref.workflow_id}",
        )
    left: TakenOver = await ask(READ, found, me, result_type=TakenOver, summary="read the earlier run")
    return left


async def ask(activity: str, *args: Any, result_type: type[Any], summary: str) -> Any:
    """Ask the world with a local activity of ours.

    Raises:
        InvalidInput: when that is its answer.
    """
    try:
        return await workflow.execute_local_activity(
            activity, args=args, result_type=result_type, start_to_close_timeout=_TIMEOUT, summary=summary
        )
    except ApplicationError as error:
        if error.type == InvalidInput.__name__:
            raise InvalidInput(error.message) from None
        raise


def claim_id(workflow_id: str, origin: str) -> str:
    """Give the id of the workflow that owns the undoing of a run."""
    return f"undo:{workflow_id}:{origin}"

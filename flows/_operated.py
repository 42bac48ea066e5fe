"""What an operator may ask of every flow, under the same names: queries and updates."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import MappingProxyType
from typing import Any, ClassVar

from temporalio import workflow

from activities import DefinitionError, InvalidInput
from activities._json import Json
from counterstep.reports import tree_json
from flows._control import Control, Decision, Note
from flows._errors import unwinds
from flows._holding import Action, EditNote, Hold, SkipNote, StepNote
from flows._inline import flow_report
from flows._scope import Scope

CHECK = "counterstep-check-value"
"""Local activity that says whether a value fits an operation's type."""

_NOBODY = Note()
_RESOLVING = "which flow this is isn't resolved yet; ask again in a moment"


def _signed(cls: type) -> type:
    """Keep the handlers' signatures: Temporal asks for them in the sandbox of each run."""
    for handler in list(vars(cls).values()):
        if inspect.isfunction(handler):
            handler.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]
    return cls


@_signed
class Operated:
    """The handlers of a workflow class that runs a flow; Temporal wants them on the class."""

    _scope: Scope
    _resolving = False

    @property
    def _at(self) -> Scope:
        scope: Scope | None = getattr(self, "_scope", None)
        if scope is None:
            raise DefinitionError(
                f"{type(self).__name__} isn't running; call this from its run(), and pass no self around"
            )
        return scope

    @property
    def _asked(self) -> Control:
        """What is asked of the run: an update may come before the run begins."""
        control: Control = self.__dict__.setdefault("_control", Control())
        return control

    async def _authors(self, handle: Callable[[], Awaitable[None]]) -> None:
        """Run a signal handler of the author's once the flow has begun; what it raises fails the flow, which unwinds."""
        await self._begun()
        try:
            await handle()
        except BaseException as error:
            if not (unwinds(error) or isinstance(error, workflow.ContinueAsNewError)):
                raise  # a bug: Temporal retries the task until fixed code arrives
            if not isinstance(error, asyncio.CancelledError):
                self._asked.fail(error)

    async def _begun(self) -> None:
        """Wait until the flow has begun: signals and updates may come before."""
        asked = self._asked
        if not (asked.begun or asked.unwinding):
            await workflow.wait_condition(lambda: asked.begun or asked.unwinding)

    @workflow.query(name="status", description="The run's state, and each step's")
    def _status(self) -> dict[str, Any]:
        return self._at.run.board.view()

    @workflow.query(name="metadata", description="The flow's progress")
    def _progress(self) -> dict[str, Any]:
        return self._at.run.board.metadata().model_dump(mode="json")

    @workflow.query(name="report", description="The report tree, as this run knows it")
    def _report(self) -> Json:
        return tree_json(flow_report(self._at, ""))

    @workflow.update(name="approve", description="Approve what waits under this name")
    def _approve(self, decision: Decision) -> str | None:
        return _decide(self, decision, rejected=False)

    @workflow.update(name="reject", description="Reject what waits under this name")
    def _reject(self, decision: Decision) -> str | None:
        return _decide(self, decision, rejected=True)

    @_approve.validator
    def _can_approve(self, decision: Decision) -> None:
        _must_wait(self, decision.name)

    @_reject.validator
    def _can_reject(self, decision: Decision) -> None:
        _must_wait(self, decision.name)

    @workflow.update(name="pause", description="Start no new step or undo")
    def _pause(self, note: Note = _NOBODY) -> None:
        self._asked.pause()
        _show(self)

    @workflow.update(name="unpause", description="Go on after pause")
    def _unpause(self, note: Note = _NOBODY) -> None:
        self._asked.unpause()
        _show(self)

    @workflow.update(name="stop", description="Unwind, then fail as stopped")
    def _stop(self, note: Note = _NOBODY) -> None:
        self._asked.stop(note)

    @_pause.validator
    @_unpause.validator
    @_stop.validator
    def _any_time(self, note: Note = _NOBODY) -> None:
        """Allow it once the flow is known; that there is a validator makes malformed input leave no event."""
        _must_be_known(self)

    @workflow.update(name="retry", description="Run a held step, or a parked undo, again")
    def _retry(self, note: StepNote) -> None:
        _settle_hold(self, note, Action.RETRY)

    @workflow.update(name="unwind", description="End a hold: unwind; a parked undo ends as not undone")
    def _unwind(self, note: StepNote) -> None:
        _settle_hold(self, note, Action.UNWIND)

    @workflow.update(
        name="skip", description="Count a held step as skipped, with an output; a parked undo as done"
    )
    async def _skip(self, note: SkipNote) -> None:
        if note.given:
            await _fits(self, note, "output", note.output)
        _settle_hold(self, note, Action.SKIP)

    @workflow.update(name="edit", description="Run a held step again with another input")
    async def _edit(self, note: EditNote) -> None:
        await _fits(self, note, "input", note.input)
        _settle_hold(self, note, Action.EDIT)

    @_retry.validator
    def _can_retry(self, note: StepNote) -> None:
        _must_be_held(self, note, Action.RETRY)

    @_unwind.validator
    def _can_unwind(self, note: StepNote) -> None:
        _must_be_held(self, note, Action.UNWIND)

    @_skip.validator
    def _can_skip(self, note: SkipNote) -> None:
        hold = _must_be_held(self, note, Action.SKIP)
        lacks = hold.lacks(hold.step, note.given) if hold.lacks and not hold.parked else None
        if lacks:
            raise InvalidInput(f"{hold.step} stays held: {lacks}")

    @_edit.validator
    def _can_edit(self, note: EditNote) -> None:
        _must_be_held(self, note, Action.EDIT)

    __counterstep_handlers__: ClassVar[frozenset[str]] = frozenset(
        ("approve", "reject", "pause", "unpause", "stop", "retry", "unwind", "skip", "edit")
    )
    # Temporal gives a handler that is async as `*args`; what it takes, is asked of it here.
    __counterstep_updates__ = MappingProxyType({"skip": _skip, "edit": _edit})

    # The sandbox looks at each attribute of the class for each run, and nobody calls these by name.
    del _can_approve, _can_reject, _any_time, _can_retry, _can_unwind, _can_skip, _can_edit


def _must_be_held(flow: Operated, note: StepNote, action: Action) -> Hold:
    """Give what waits under a name.

    Raises:
        InvalidInput: when nothing does, or this can't be decided of it.
    """
    hold = flow._asked.holds.get(note.step)
    if hold is None or hold.action is not None:
        names = ", ".join(f"{h.step} ({h.state})" for h in flow._asked.holds.values()) or "none"
        raise InvalidInput(f"step {note.step!r} isn't waiting; waiting now: {names}")
    if action is Action.EDIT and (hold.parked or not hold.typed):
        raise InvalidInput(f"{note.step} is {hold.state} without an input to edit; retry, skip or unwind it")
    if action is Action.UNWIND and not hold.parked and flow._at.run.pivoted:
        instead = "retry, edit or skip it" if hold.typed else "retry or skip it"
        raise InvalidInput(f"{note.step} comes after the pivot, from which there is no way back; {instead}")
    return hold


def _settle_hold(flow: Operated, note: StepNote, action: Action) -> None:
    hold = _must_be_held(flow, note, action)
    hold.note, hold.action = note, action
    if action is Action.UNWIND and not hold.parked:  # of the run: what else is held doesn't keep it
        for other in flow._asked.holds.values():
            if not other.parked and other.action is None:
                other.note, other.action = note, action


async def _fits(flow: Operated, note: StepNote, side: str, value: Any) -> None:
    """Refuse a value that doesn't fit the operation's type; the step stays held."""
    hold = flow._asked.holds[note.step]
    if hold.parked or not hold.typed:
        return
    wrong: str | None = await workflow.execute_local_activity(
        CHECK,
        args=[hold.definition, side, value],
        start_to_close_timeout=timedelta(seconds=30),
        summary=f"does the {side} fit?",
    )
    if wrong:
        raise InvalidInput(f"{note.step}: {wrong}")


def _show(flow: Operated) -> None:
    """Show in the Temporal UI whether new steps and undos are held back."""
    scope: Scope | None = getattr(flow, "_scope", None)
    if scope is not None:
        scope.run.board.show()


def _decide(flow: Operated, decision: Decision, *, rejected: bool) -> str | None:
    """Decide an approval, and give its full name, for who reads the history; of one that comes early it isn't known yet."""
    found = flow._asked.waiting(decision.name)
    if not found:
        flow._asked.early.setdefault(decision.name, []).append((decision, rejected))
        return None
    found[0].decide(decision, rejected=rejected)
    return found[0].name


def _must_be_known(flow: Operated) -> None:
    """Refuse what is asked of a run that may still go on as new, and forget it; what a reset applies again, nobody asks twice."""
    info = workflow.info()
    if flow._resolving and info.run_id == info.original_execution_run_id:
        raise InvalidInput(_RESOLVING)


def _must_wait(flow: Operated, name: str) -> None:
    """Refuse a decision that nothing waits for, or more than one approval.

    A worker that doesn't remember a run, whose first task asked for nothing, replays that task together with the update,
    and after it: then the decision is kept until the flow comes to wait for it. So is one that Temporal applies again to
    a run that was reset to a point before it.
    """
    control = flow._asked
    _must_be_known(flow)
    found = control.waiting(name)
    if len(found) > 1:
        names = ", ".join(approval.name for approval in found)
        raise InvalidInput(f"approval {name!r} waits in several flows; say which: {names}")
    if not found and hasattr(flow, "_scope") and not flow._at.run.guard.replaying_before:
        names = ", ".join(approval.name for approval in control.waiting()) or "none"
        raise InvalidInput(f"approval {name!r} isn't waiting; waiting now: {names}")

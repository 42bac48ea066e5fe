"""What an operator may ask of every flow, under the same names: queries and updates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow

from activities import DefinitionError, InvalidInput
from activities._json import Json
from counterstep.reports import tree_json
from flows._control import Control, Decision, Note
from flows._holding import DEADLINE, Action, EditNote, Hold, SkipNote, StepNote
from flows._inline import flow_report
from flows._scope import Scope

CHECK = "counterstep-check-value"
"""Local activity that says whether a value fits an operation's type."""

_NOBODY = Note()


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
    def _approve(self, decision: Decision) -> None:
        self._decide(decision, rejected=False)

    @workflow.update(name="reject", description="Reject what waits under this name")
    def _reject(self, decision: Decision) -> None:
        self._decide(decision, rejected=True)

    @_approve.validator
    def _can_approve(self, decision: Decision) -> None:
        self._must_wait(decision.name)

    @_reject.validator
    def _can_reject(self, decision: Decision) -> None:
        self._must_wait(decision.name)

    @workflow.update(name="pause", description="Start no new step or undo")
    def _pause(self, note: Note = _NOBODY) -> None:
        self._hold(True)

    @workflow.update(name="unpause", description="Go on after pause")
    def _unpause(self, note: Note = _NOBODY) -> None:
        self._hold(False)

    @workflow.update(name="stop", description="Unwind, then fail as stopped")
    def _stop(self, note: Note = _NOBODY) -> None:
        self._asked.stop(note)

    @_pause.validator
    @_unpause.validator
    @_stop.validator
    def _any_time(self, note: Note = _NOBODY) -> None:
        """Allow it once the flow is known; that there is a validator makes malformed input leave no event."""
        if self._resolving:
            raise InvalidInput("which flow this is isn't resolved yet; ask again in a moment")

    @workflow.update(name="retry", description="Run a held step, or a parked undo, again")
    def _retry(self, note: StepNote) -> None:
        self._settle_hold(note, Action.RETRY)

    @workflow.update(name="unwind", description="End a hold: unwind; a parked undo ends as not undone")
    def _unwind(self, note: StepNote) -> None:
        self._settle_hold(note, Action.UNWIND)

    @workflow.update(
        name="skip", description="Count a held step as skipped, with an output; a parked undo as done"
    )
    async def _skip(self, note: SkipNote) -> None:
        if "output" in note.model_fields_set:
            await self._fits(note, "output", note.output)
        self._settle_hold(note, Action.SKIP)

    @workflow.update(name="edit", description="Run a held step again with another input")
    async def _edit(self, note: EditNote) -> None:
        await self._fits(note, "input", note.input)
        self._settle_hold(note, Action.EDIT)

    @_retry.validator
    def _can_retry(self, note: StepNote) -> None:
        self._must_be_held(note, Action.RETRY)

    @_unwind.validator
    def _can_unwind(self, note: StepNote) -> None:
        self._must_be_held(note, Action.UNWIND)

    @_skip.validator
    def _can_skip(self, note: SkipNote) -> None:
        self._must_be_held(note, Action.SKIP)

    @_edit.validator
    def _can_edit(self, note: EditNote) -> None:
        self._must_be_held(note, Action.EDIT)

    def _must_be_held(self, note: StepNote, action: Action) -> Hold:
        """Give what waits under a name.

        Raises:
            InvalidInput: when nothing does, or this can't be decided of it.
        """
        hold = self._asked.holds.get(note.step)
        if hold is None or hold.action is not None:
            names = ", ".join(f"{h.step} ({h.state})" for h in self._asked.holds.values()) or "none"
            raise InvalidInput(f"step {note.step!r} isn't waiting; waiting now: {names}")
        if action is Action.EDIT and (hold.parked or hold.step == DEADLINE):
            raise InvalidInput(
                f"{note.step} is {hold.state} without an input to edit; retry, skip or unwind it"
            )
        if action is Action.UNWIND and not hold.parked and self._at.run.pivoted:
            raise InvalidInput(
                f"{note.step} comes after the pivot, from which there is no way back; retry, edit or skip it"
            )
        return hold

    def _settle_hold(self, note: StepNote, action: Action) -> None:
        hold = self._must_be_held(note, action)
        hold.note, hold.action = note, action

    async def _fits(self, note: StepNote, side: str, value: Any) -> None:
        """Refuse a value that doesn't fit the operation's type; the step stays held."""
        hold = self._asked.holds[note.step]
        if hold.parked or hold.step == DEADLINE:
            return
        wrong: str | None = await workflow.execute_local_activity(
            CHECK,
            args=[hold.definition, side, value],
            start_to_close_timeout=timedelta(seconds=30),
            summary=f"does the {side} fit?",
        )
        if wrong:
            raise InvalidInput(f"{note.step}: {wrong}")

    def _hold(self, paused: bool) -> None:
        """Hold new steps and undos back, or let them go."""
        self._asked.paused = paused
        scope: Scope | None = getattr(self, "_scope", None)
        if scope is not None:
            scope.run.board.show()

    def _decide(self, decision: Decision, *, rejected: bool) -> None:
        approval = self._asked.waiting(decision.name)
        assert approval is not None
        approval.decide(decision, rejected=rejected)

    def _must_wait(self, name: str) -> None:
        control = self._asked
        if control.waiting(name) is None:
            names = ", ".join(n for n in control.approvals if control.waiting(n)) or "none"
            raise InvalidInput(f"approval {name!r} isn't waiting; waiting now: {names}")

"""What an operator may ask of every flow, under the same names: queries and updates."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from activities import DefinitionError, InvalidInput
from activities._json import Json
from counterstep.reports import tree_json
from flows._control import Decision, Note
from flows._inline import flow_report
from flows._scope import Scope


class Operated:
    """The handlers of a workflow class that runs a flow; Temporal wants them on the class."""

    _scope: Scope

    @property
    def _at(self) -> Scope:
        scope: Scope | None = getattr(self, "_scope", None)
        if scope is None:
            raise DefinitionError(f"{type(self).__name__} isn't running; call this from its run(), and pass no self around")
        return scope

    @workflow.query(name="status", description="The run's state, and each step's")
    def _status(self) -> dict[str, Any]:
        return self._at.run.board.view()

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
    def _pause(self, note: Note = Note()) -> None:
        self._at.run.pause(True)

    @workflow.update(name="unpause", description="Go on after pause")
    def _unpause(self, note: Note = Note()) -> None:
        self._at.run.pause(False)

    @workflow.update(name="stop", description="Unwind, then fail as stopped")
    def _stop(self, note: Note = Note()) -> None:
        self._at.run.control.stop(note)

    @_pause.validator
    @_unpause.validator
    @_stop.validator
    def _any_time(self, note: Note = Note()) -> None:
        """Allow it; that there is a validator makes malformed input leave no event."""

    def _decide(self, decision: Decision, *, rejected: bool) -> None:
        approval = self._at.run.control.waiting(decision.name)
        assert approval is not None
        approval.decide(decision, rejected=rejected)

    def _must_wait(self, name: str) -> None:
        control = self._at.run.control
        if control.waiting(name) is None:
            names = ", ".join(n for n in control.approvals if control.waiting(n)) or "none"
            raise InvalidInput(f"approval {name!r} isn't waiting; waiting now: {names}")

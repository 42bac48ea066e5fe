"""What a sweep does: for each step and mode the runs that try it and what must come of them, or why there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from activities import Unrecoverable
from flows.testing import _faults as faults
from flows.testing._faults import Fault
from flows.testing._modes import RESTARTS, Mode
from flows.testing._planning import LEFT_ALONE, Case, Planning, meets_results
from flows.testing._steps import Step
from flows.testing._trial import Place

_NEVER_AGAIN = "it is never dispatched again"
_WITHOUT_EFFECT = frozenset(
    (
        Mode.FAILS,
        Mode.UNKNOWN,
        Mode.TRANSIENT,
        Mode.CANCEL_BEFORE,
        Mode.SIBLINGS,
        Mode.REPLAYED,
        Mode.RESTART_BEFORE,
    )
)
_HOLDS_UP = "a local step that waited for its siblings would hold up the task that they begin in"
_KEEPS_ASKING = "the time-skipping server keeps asking the worker that is gone"


def _fails(planning: Planning, step: Step) -> list[Case] | str:
    return planning.failing(step, Mode.FAILS, faults.error())


def _fails_after(planning: Planning, step: Step) -> list[Case] | str:
    return planning.failing(step, Mode.FAILS_AFTER, faults.error(after=True), unknown=True)


def _unknown(planning: Planning, step: Step) -> list[Case] | str:
    return planning.failing(step, Mode.UNKNOWN, faults.error(unknown=True), unknown=True)


def _for_good(*, after: bool = False) -> Fault:
    """Let all further executions fail: on a busy machine even the answer of one that fails may miss its short timeout."""
    return replace(faults.error(after=after), lasts=True)


def _times_out(planning: Planning, step: Step) -> list[Case] | str:
    late = faults.timeout(timedelta(seconds=1 + 4 * step.seconds))
    injected = (late,) if step.attempts == 1 else (late, _for_good())
    return planning.failing(step, Mode.TIMES_OUT, *injected, unknown=True)


def _late(planning: Planning, step: Step) -> list[Case] | str:
    """Let a step time out before its effect, which comes when it is undone."""
    if not step.undoable:
        return "it has no undo"
    if step.name not in planning.late:
        return "`late` doesn't name it: nothing says that it has no effect once it was undone"
    if not planning.undoes_unknown(step):
        return LEFT_ALONE
    late = faults.late(step.name, timedelta(seconds=1 + 4 * step.seconds))
    injected = (late,) if step.attempts == 1 else (late, _for_good())
    return planning.failing(step, Mode.LATE, *injected, unknown=True)


def _crash(planning: Planning, step: Step) -> list[Case] | str:
    if step.once:
        return planning.failing(step, Mode.CRASH, faults.crash(), unknown=True)
    return planning.going_on(step, Mode.CRASH, faults.crash())


def _crash_fails(planning: Planning, step: Step) -> list[Case] | str:
    """Let an execution be lost after its effect, and the next one fail: before its effect, or after having it once more."""
    if step.once:
        return _NEVER_AGAIN
    ends = (_for_good(), _for_good(after=True))
    return [
        case
        for last in ends
        for case in planning.failing(step, Mode.CRASH_FAILS, faults.crash(), last, unknown=True)
    ]


def _crash_undone(planning: Planning, step: Step) -> list[Case] | str:
    """Let a step be lost, done again and undone: the second time it must not take its own effect for what was before."""
    if step.once:
        return _NEVER_AGAIN
    if planning.only_by_itself(step):
        return "no step after it fails so that it is undone"
    return planning.undoing(step, Mode.CRASH_UNDONE, faults.crash(), undo=False)


def _repeated(planning: Planning, step: Step) -> list[Case] | str:
    if step.once:
        return _NEVER_AGAIN
    return planning.going_on(step, Mode.REPEATED, faults.repeat())


def _transient(planning: Planning, step: Step) -> list[Case] | str:
    if step.final:
        return "an error of it isn't tried again"
    return planning.going_on(step, Mode.TRANSIENT, faults.error(retryable=True))


def _cancel(mode: Mode, when: faults.When) -> Maker:
    def make(planning: Planning, step: Step) -> list[Case] | str:
        if planning.skips_time and (when == "after" or meets_results(step)):
            return faults.HANGS
        return planning.cancelled(step, mode, faults.cancel(when))

    return make


def _siblings(planning: Planning, step: Step) -> list[Case] | str:
    """Let a step fail together with steps that may all be in flight at once."""
    if not step.siblings:
        return "it has no siblings"
    together = [step]
    for other in planning.steps.values():
        if all(_meet(other, chosen) for chosen in together) and len(together) < planning.policy.max_parallel:
            together.append(other)
    if len(together) == 1:
        alone = planning.policy.max_parallel == 1
        return "the policy lets one step run at once" if alone else _HOLDS_UP
    names = frozenset(other.name for other in together)
    fault = faults.together(asyncio.Barrier(len(names)))
    ends = planning.after_failure(max(together, key=lambda one: (one.pivoted, one.races)))
    places = {Place(other.name): (fault,) for other in together}
    if names <= planning.survives or not names & planning.survives:
        leaves = bool(names & planning.survives)
        return [
            Case(step.name, Mode.SIBLINGS, places, ends, names, others=names - {step.name}, leaves=leaves)
        ]
    return "the flow catches the failure of some of its siblings"


def _meet(one: Step, other: Step) -> bool:
    """Whether two steps may be in flight at once; what waits in a local step holds up those that aren't ready with it."""
    if one.name not in other.siblings:
        return False
    return not (one.local or other.local) or one.before == other.before


def _undo_repeated(planning: Planning, step: Step) -> list[Case] | str:
    return planning.undoing(step, Mode.UNDO_REPEATED, faults.repeat())


def _undo_fails(planning: Planning, step: Step) -> list[Case] | str:
    """Let an undo fail, for every failure that asks for it."""
    if not step.undoable:
        return "it has no undo"
    triggers = planning.triggers(step)
    if not triggers:
        return LEFT_ALONE
    found = [*triggers[:-1], *planning.never_happened(step), triggers[-1]]
    return [_stuck(planning, step, *trigger, undo=trigger is found[-1]) for trigger in found]


def _stuck(planning: Planning, step: Step, failing: Step, fault: Fault, *, undo: bool) -> Case:
    places = {Place(failing.name): (fault,), Place(step.name, undo=True): (faults.error(),)}
    _, failed = planning.ends(failing, fault)
    stuck = frozenset({step.name})
    return Case(step.name, Mode.UNDO_FAILS, places, frozenset({"stuck"}), failed, stuck, leaves=not undo)


def _undos_fail(planning: Planning, step: Step) -> list[Case] | str:
    """Let an undo fail after its effect, and that of another step before it; if need be that of the one that failed."""
    triggers = planning.triggers(step)
    if not step.undoable or not triggers:
        return LEFT_ALONE if step.undoable else "it has no undo"
    failing, fault = triggers[-1]
    other = planning.beside(step, failing)
    if other is None and failing is not step and failing.undoable and planning.undoes_unknown(failing):
        other, fault = failing, faults.error(after=True)
    if other is None:
        return "no other step is undone with it"
    if "stop" in (step.policy.on_undo_failure, other.policy.on_undo_failure):
        return "the policy stops at the first undo that fails"
    after = faults.error(Unrecoverable("injected, after the effect"), after=True)
    places = {
        Place(failing.name): (fault,),
        Place(step.name, undo=True): (after,),
        Place(other.name, undo=True): (faults.error(),),
    }
    _, failed = planning.ends(failing, fault)
    stuck = frozenset({step.name, other.name})
    return [Case(step.name, Mode.UNDOS_FAIL, places, frozenset({"stuck"}), failed, stuck)]


def _undo_transient(planning: Planning, step: Step) -> list[Case] | str:
    if step.undoable and step.undo_final:
        return "an error of its undo isn't tried again"
    return planning.undoing(step, Mode.UNDO_TRANSIENT, faults.error(retryable=True))


def _undo_crash(planning: Planning, step: Step) -> list[Case] | str:
    return planning.undoing(step, Mode.UNDO_CRASH, faults.crash())


def _in_undo(mode: Mode, fault: Callable[[faults.When], Fault], when: faults.When) -> Maker:
    def make(planning: Planning, step: Step) -> list[Case] | str:
        if planning.skips_time and mode in RESTARTS:
            return _KEEPS_ASKING
        return planning.undoing(step, mode, fault(when))

    return make


def _replayed(planning: Planning, step: Step) -> list[Case] | str:
    return planning.failing(step, Mode.REPLAYED, faults.error())


def _restart(mode: Mode, when: faults.When) -> Maker:
    def make(planning: Planning, step: Step) -> list[Case] | str:
        if planning.skips_time:
            return _KEEPS_ASKING
        if step.once and when != "after":
            return planning.failing(step, mode, faults.restart(when), unknown=True)
        return planning.going_on(step, mode, faults.restart(when))

    return make


Maker = Callable[[Planning, Step], "list[Case] | str"]
_MAKERS: Mapping[Mode, Maker] = {
    Mode.FAILS: _fails,
    Mode.FAILS_AFTER: _fails_after,
    Mode.UNKNOWN: _unknown,
    Mode.TIMES_OUT: _times_out,
    Mode.LATE: _late,
    Mode.CRASH: _crash,
    Mode.CRASH_FAILS: _crash_fails,
    Mode.CRASH_UNDONE: _crash_undone,
    Mode.REPEATED: _repeated,
    Mode.TRANSIENT: _transient,
    Mode.CANCEL_BEFORE: _cancel(Mode.CANCEL_BEFORE, "before"),
    Mode.CANCEL_IN: _cancel(Mode.CANCEL_IN, "in"),
    Mode.CANCEL_AFTER: _cancel(Mode.CANCEL_AFTER, "after"),
    Mode.SIBLINGS: _siblings,
    Mode.UNDO_REPEATED: _undo_repeated,
    Mode.UNDO_FAILS: _undo_fails,
    Mode.UNDOS_FAIL: _undos_fail,
    Mode.UNDO_TRANSIENT: _undo_transient,
    Mode.UNDO_CRASH: _undo_crash,
    Mode.UNDO_CANCEL_BEFORE: _in_undo(Mode.UNDO_CANCEL_BEFORE, faults.cancel, "before"),
    Mode.UNDO_CANCEL_IN: _in_undo(Mode.UNDO_CANCEL_IN, faults.cancel, "in"),
    Mode.UNDO_CANCEL_AFTER: _in_undo(Mode.UNDO_CANCEL_AFTER, faults.cancel, "after"),
    Mode.REPLAYED: _replayed,
    Mode.RESTART_BEFORE: _restart(Mode.RESTART_BEFORE, "before"),
    Mode.RESTART_IN: _restart(Mode.RESTART_IN, "in"),
    Mode.RESTART_AFTER: _restart(Mode.RESTART_AFTER, "after"),
    Mode.UNDO_RESTART_BEFORE: _in_undo(Mode.UNDO_RESTART_BEFORE, faults.restart, "before"),
    Mode.UNDO_RESTART_IN: _in_undo(Mode.UNDO_RESTART_IN, faults.restart, "in"),
    Mode.UNDO_RESTART_AFTER: _in_undo(Mode.UNDO_RESTART_AFTER, faults.restart, "after"),
}


def cases(planning: Planning, step: Step, mode: Mode) -> list[Case] | str:
    """Give the runs for a step and a mode; or why there are none."""
    if step.skipped and mode not in _WITHOUT_EFFECT:
        return "it is skipped, and has no effect"
    return _MAKERS[mode](planning, step)

"""What a sweep does: for each step and mode the runs that try it and what must come of them, or why there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from activities import Unrecoverable
from flows._policy import Policy
from flows.testing import _faults as faults
from flows.testing._faults import Fault
from flows.testing._modes import RESTARTS, UNDO_CANCELS, Mode
from flows.testing._steps import Step
from flows.testing._trial import Place

Faults = Mapping[Place, Sequence[Fault]]
NOTHING: frozenset[str] = frozenset()
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
_LEFT_ALONE = "no failure that the policy unwinds leaves it to be undone"
_KEEPS_ASKING = "the time-skipping server keeps asking the worker that is gone"


@dataclass(frozen=True)
class Case:
    """One run of a sweep.

    Attributes:
        step: that it is about.
        mode: of going wrong.
        faults: what goes wrong.
        ends: the states in which it may end.
        failed: the steps that fail in it; ``None`` where that is left open.
        stuck: the steps that it can't undo.
        others: steps that the run is about as well.
        leaves: whether its world is left open: the policy doesn't undo what is unknown, the flow goes on without it, or
            ``undo`` would have to finish it.
    """

    step: str
    mode: Mode
    faults: Faults
    ends: frozenset[str]
    failed: frozenset[str] | None = NOTHING
    stuck: frozenset[str] = NOTHING
    others: frozenset[str] = NOTHING
    leaves: bool = False

    @property
    def name(self) -> str:
        """Name it: what goes wrong where."""
        return "; ".join(f"{place}: {', '.join(f.name for f in fs)}" for place, fs in self.faults.items())


@dataclass(frozen=True)
class Planning:
    """Makes the cases of a flow.

    Attributes:
        steps: of the flow, by name, in the order in which they began.
        policy: of the flow.
        skips_time: whether the server skips time.
        survives: steps whose failure the flow catches.
        late: steps whose operation has no effect any more once it was undone.
    """

    steps: Mapping[str, Step]
    policy: Policy
    skips_time: bool
    survives: frozenset[str] = field(default=NOTHING)
    late: frozenset[str] = field(default=NOTHING)

    def cases(self, step: Step, mode: Mode) -> list[Case] | str:
        """Give the runs for a step and a mode; or why there are none."""
        if step.skipped and mode not in _WITHOUT_EFFECT:
            return "it is skipped, and has no effect"
        return _MAKERS[mode](self, step)

    def after_failure(self, step: Step) -> frozenset[str]:
        """Say how the run ends when a step fails for good."""
        if step.name in self.survives:
            return frozenset({"completed"})
        if step.pivoted or self._keeps:
            return frozenset({"kept"})
        return frozenset({"rolled_back", "kept"} if step.races else {"rolled_back"})

    @property
    def _keeps(self) -> bool:
        policy = self.policy
        held = policy.on_failure == "hold" and policy.then == "keep"
        return policy.on_failure in ("keep", "continue") or held

    @property
    def waits(self) -> bool:
        """Whether a failure waits for an operator, or for a time that a server that doesn't skip it won't see."""
        policies = [self.policy, *(step.policy for step in self.steps.values())]
        holds = any(policy.on_failure == "hold" or policy.on_undo_failure == "park" for policy in policies)
        return (holds or any(step.one_way for step in self.steps.values())) and not self.skips_time

    def failing(self, step: Step, mode: Mode, *injected: Fault, unknown: bool = False) -> list[Case]:
        """Give the run in which a step fails for good."""
        never = unknown and step.policy.undo_failed_step == "never"
        leaves = never or step.name in self.survives
        places = {Place(step.name): injected}
        found = self.after_failure(step)
        return [Case(step.name, mode, places, found, frozenset({step.name}), leaves=leaves)]

    def going_on(self, step: Step, mode: Mode, *injected: Fault) -> list[Case]:
        """Give the run in which a step goes wrong and then well."""
        return [Case(step.name, mode, {Place(step.name): injected}, frozenset({"completed"}))]

    def cancelled(self, step: Step, mode: Mode, fault: Fault) -> list[Case]:
        """Give the run that is cancelled around a step; what else is in flight may be interrupted."""
        ends = frozenset({"cancelled"})
        never = step.policy.undo_failed_step == "never"  # and what it hits has an unknown outcome
        leaves = step.one_way or never
        return [Case(step.name, mode, {Place(step.name): (fault,)}, ends, failed=None, leaves=leaves)]

    def undoing(self, step: Step, mode: Mode, *injected: Fault) -> list[Case] | str:
        """Give the run in which the undo of a step goes wrong."""
        if not step.undoable:
            return "it has no undo"
        found = self.trigger(step)
        if isinstance(found, str):
            return found
        failing, fault = found
        places = {Place(failing.name): (fault,), Place(step.name, undo=True): injected}
        ends, failed = self.after_failure(failing), frozenset({failing.name})
        inner_unwinds = bool(failing.flow)  # the flow around it could still have gone on, and is cancelled
        if mode in UNDO_CANCELS and inner_unwinds:
            return [Case(step.name, mode, places, ends | {"cancelled"}, failed=None)]
        return [Case(step.name, mode, places, ends, failed)]

    def trigger(self, step: Step) -> tuple[Step, Fault] | str:
        """Give what has to fail so that a step is undone: the first step after it, or itself after its effect.

        So no other undo than those of steps before it can be to blame.
        """
        found = self.triggers(step)
        later = [one for one in found if one[0] is not step]
        return next(iter(later or found), _LEFT_ALONE)

    def triggers(self, step: Step) -> list[tuple[Step, Fault]]:
        """Give all failures after which a step is undone; the last one leaves the most to undo."""
        if step.skipped:
            return []
        own = self.undoes_unknown(step)
        there = [s for s in self.steps.values() if step.name in s.before - s.gone]
        later = [s for s in there if self._unwinds(s)]
        itself = [(step, faults.error(after=True))] if own else []
        return [*itself, *((other, faults.error()) for other in later)]

    def undoes_unknown(self, step: Step) -> bool:
        """Whether a step is undone where its own outcome is unknown."""
        return self._unwinds(step) and step.policy.undo_failed_step != "never"

    def beside(self, step: Step, failing: Step) -> Step | None:
        """Give another step that is undone after the same failure: at once with this one, or right before or after it."""
        names = list(self.steps)
        there = [self.steps[name] for name in names if name in failing.before - failing.gone - {step.name}]
        at = names.index(step.name)

        def far(other: Step) -> tuple[bool, bool, int]:
            steps = names.index(other.name) - at
            return other.name not in step.siblings, steps < 0, abs(steps)

        return min((s for s in there if s.undoable and not s.skipped), key=far, default=None)

    def _unwinds(self, step: Step) -> bool:
        return self.after_failure(step) == {"rolled_back"}


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
        return _LEFT_ALONE
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
        if planning.skips_time and when == "after":
            return "the time-skipping server hangs when a cancel meets a result"
        return planning.cancelled(step, mode, faults.cancel(when))

    return make


def _siblings(planning: Planning, step: Step) -> list[Case] | str:
    """Let a step fail together with steps that may all be in flight at once."""
    if not step.siblings:
        return "it has no siblings"
    together = [step]
    for name, other in planning.steps.items():
        if (
            all(name in chosen.siblings for chosen in together)
            and len(together) < planning.policy.max_parallel
        ):
            together.append(other)
    if len(together) == 1:
        return "the policy lets one step run at once"
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


def _undo_repeated(planning: Planning, step: Step) -> list[Case] | str:
    return planning.undoing(step, Mode.UNDO_REPEATED, faults.repeat())


def _undo_fails(planning: Planning, step: Step) -> list[Case] | str:
    """Let an undo fail, for every failure that asks for it."""
    if not step.undoable:
        return "it has no undo"
    triggers = planning.triggers(step)
    found = [_stuck(step, *trigger, undo=trigger is triggers[-1]) for trigger in triggers]
    return found or _LEFT_ALONE


def _stuck(step: Step, failing: Step, fault: Fault, *, undo: bool) -> Case:
    places = {Place(failing.name): (fault,), Place(step.name, undo=True): (faults.error(),)}
    names = frozenset({failing.name}), frozenset({step.name})
    return Case(step.name, Mode.UNDO_FAILS, places, frozenset({"stuck"}), *names, leaves=not undo)


def _undos_fail(planning: Planning, step: Step) -> list[Case] | str:
    """Let an undo fail after its effect, and that of another step before it; if need be that of the one that failed."""
    triggers = planning.triggers(step)
    if not step.undoable or not triggers:
        return _LEFT_ALONE if step.undoable else "it has no undo"
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
    names = frozenset({failing.name}), frozenset({step.name, other.name})
    return [Case(step.name, Mode.UNDOS_FAIL, places, frozenset({"stuck"}), *names)]


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

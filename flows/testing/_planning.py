"""One run of a sweep, and what the runs for a step are made from: the failures that undo it, and how those end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from flows._policy import Policy
from flows.testing import _faults as faults
from flows.testing._faults import Fault
from flows.testing._modes import UNDO_CANCELS, Mode
from flows.testing._steps import Step
from flows.testing._trial import Place

Faults = Mapping[Place, Sequence[Fault]]
NOTHING: frozenset[str] = frozenset()
LEFT_ALONE = "no failure that the policy unwinds leaves it to be undone"


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
        crowded: whether the step that fails after it, or one beside that, is undone as well.
    """

    step: str
    mode: Mode
    faults: Faults
    ends: frozenset[str]
    failed: frozenset[str] | None = NOTHING
    stuck: frozenset[str] = NOTHING
    others: frozenset[str] = NOTHING
    leaves: bool = False
    crowded: bool = False

    @property
    def cause(self) -> tuple[str, str]:
        """The step that fails first, and how."""
        place, (fault, *_) = next(iter(self.faults.items()))
        return place.step, fault.name

    @property
    def name(self) -> str:
        """Name it: what goes wrong where."""
        return "; ".join(f"{place}: {', '.join(f.name for f in fs)}" for place, fs in self.faults.items())


@dataclass(frozen=True)
class Planning:
    """Knows what the cases of a flow are made from.

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

    def undoing(self, step: Step, mode: Mode, *injected: Fault, undo: bool = True) -> list[Case] | str:
        """Give the run in which a step that is undone, or its undo, goes wrong."""
        if not step.undoable:
            return "it has no undo"
        found = self.trigger(step)
        if isinstance(found, str):
            return found
        failing, fault = found
        places = {Place(failing.name): (fault,), Place(step.name, undo): injected}
        ends, failed = self.ends(failing, fault)
        if mode in UNDO_CANCELS and self._cancelled_first(failing):
            ends, failed = ends | {"cancelled"}, None
        return [Case(step.name, mode, places, ends, failed, crowded=self._crowds(step, failing))]

    def ends(self, failing: Step, fault: Fault) -> tuple[frozenset[str], frozenset[str] | None]:
        """Say how the run ends in which a trigger fails, and which steps fail in it."""
        if fault.name.startswith("cancel"):
            return frozenset({"cancelled"}), None
        return self.after_failure(failing), frozenset({failing.name})

    def _cancelled_first(self, failing: Step) -> bool:
        """Whether a cancel that comes while a failure is unwound may end the run as if it had come before.

        The flow around an inner one could still have gone on. A task that did local undos to the run's end is done again
        where a cancel comes meanwhile, which the flow is told of first.
        """
        undone = (self.steps[name] for name in failing.before - failing.gone)
        return bool(failing.flow) or failing.local or any(step.local for step in undone)

    def _crowds(self, step: Step, failing: Step) -> bool:
        """Whether what fails after a step is undone as well, or steps beside that are."""
        if failing is step:
            return False
        always = failing.undoable and failing.policy.undo_failed_step == "always"
        beside = (self.steps[name] for name in failing.siblings - {step.name})
        return always or any(other.undoable and not other.skipped for other in beside)

    def trigger(self, step: Step) -> tuple[Step, Fault] | str:
        """Give what has to fail so that a step is undone: the first step after it, or itself after its effect.

        So no other undo than those of steps before it, or beside what fails, can be to blame.
        """
        found = self.triggers(step)
        later = [one for one in found if one[0] is not step]
        return next(iter(later or found), LEFT_ALONE)

    def only_by_itself(self, step: Step) -> bool:
        """Whether a step is undone after its own failure alone."""
        return {failing.name for failing, _ in self.triggers(step)} == {step.name}

    def triggers(self, step: Step) -> list[tuple[Step, Fault]]:
        """Give all failures after which a step is undone; the last one leaves the most to undo."""
        if step.skipped:
            return []
        own = self.undoes_unknown(step)
        there = [s for s in self.steps.values() if step.name in s.before - s.gone]
        later = [s for s in there if self._unwinds(s)]
        itself = [(step, faults.error(after=True))] if own else []
        return [*itself, *((other, faults.error()) for other in later)] or self._cancels(step)

    def _cancels(self, step: Step) -> list[tuple[Step, Fault]]:
        """Give a cancel before the next step where the policy keeps what was done before a failure: it undoes all the same."""
        if not self._keeps or step.one_way or step.name in self.survives:
            return []
        there = (s for s in self.steps.values() if step.name in s.before - s.gone and not s.one_way)
        found = (s for s in there if not (self.skips_time and meets_results(s)))
        return [(next_, faults.cancel("before")) for next_ in islice(found, 1)]

    def never_happened(self, step: Step) -> list[tuple[Step, Fault]]:
        """Give the next step after a step whose undo is called though it never had its effect: it takes back nothing."""
        later = (s for s in self.steps.values() if step.name in s.before - s.gone)
        found = (s for s in later if s.undoable and not s.skipped and self.undoes_unknown(s))
        return [(next_, faults.error(unknown=True)) for next_ in islice(found, 1)]

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


def meets_results(step: Step) -> bool:
    """Whether a cancel during a step may come together with a result: its own, being local, or that of a step beside it."""
    return step.local or bool(step.siblings)

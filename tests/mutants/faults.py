"""The faults: a piece of code, what stands there instead, and the tests that are to catch it."""

from __future__ import annotations

from dataclasses import dataclass

RANDOM = "tests/random_plans"
OUTCOMES = "tests/flows/test_outcomes.py"
RESET = "tests/flows/test_reset.py"
CAP = "tests/sagas/test_cap.py"
POLICY = "tests/flows/test_policy.py"
CHILD_FLOWS = "tests/sagas/test_child_flows.py"
CHILDREN_LEFT = "tests/sagas/test_children_left.py"


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes:
        name: what it does wrong.
        path: of the file.
        edits: what stands there, once, and what stands there instead.
        tests: what pytest is asked to run.
    """

    name: str
    path: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


def _mutant(name: str, path: str, before: str, after: str, *tests: str) -> Mutant:
    return Mutant(name, path, ((before, after),), tests)


MUTANTS = (
    _mutant(
        "a sequence is undone oldest first", "flows/_scope.py",
        "for record in sorted(records, key=lambda r: r.order))",
        "for record in sorted(records, key=lambda r: -r.order))",
        "tests/flows/test_sequence_basics.py", POLICY,
    ),
    _mutant(
        "a saga is undone all at once", "flows/_undo.py",
        "self._followers[before] += 1", "self._followers[before] += 0", RANDOM,
    ),
    _mutant(
        "one step too many runs at once", "flows/_interpreter.py",
        "len(self._running) < self._policy.max_parallel", "len(self._running) <= self._policy.max_parallel", CAP,
    ),
    _mutant(
        "one undo too many runs at once", "flows/_undo.py",
        "len(running) < self._places", "len(running) <= self._places", CAP,
    ),
    _mutant(
        "what is ready starts in any order", "flows/_ready.py",
        "self._names[heappop(self._heap)]", "self._names[self._heap.pop()]", CAP,
    ),
    _mutant(
        "unwinding begins while steps are in flight", "flows/_interpreter.py",
        "        if self._failures:\n            raise", "        if self._failures and False:\n            raise", RANDOM,
    ),
    _mutant(
        "a failure ends a saga before its siblings settled", "flows/_interpreter.py",
        "            while await self._something():\n",
        "            while await self._something() and not self._failures:\n", "tests/sagas/test_going_on.py",
    ),
    _mutant(
        "a cancel arrives before what a lost task did is done again", "flows/_control.py",
        "        await row_ended(self.local)\n", "", "tests/flows/test_lost_local_steps.py",
    ),
    _mutant(
        "an end arrives before a failure has asked what was lost", "flows/_interpreter.py",
        "        with self._run.control.asking():\n", "        if True:\n", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "a stop arrives before the results that came with it", "flows/_control.py",
        "            await lost_a_task()\n", "            pass\n", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "a failure ends a plan before what a lost task did is done again", "flows/_interpreter.py",
        "return self._may_have_lost() and", "return False and", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "what may have been lost is done in any case", "flows/_interpreter.py",
        "and await lost_a_task()\n", "and (await lost_a_task() or True)\n", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "a question that takes long is told of the task that it is asked in", "flows/_lookup.py",
        "if event.event_id > until:", "if event.event_id > until + 99:", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "a step begins while a failed one isn't held yet", "flows/_interpreter.py",
        "bool(self._asks or self._run", "bool(self._run", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "what an update asked for before a reset is noticed stays asked for", "flows/_reset.py",
        "        self._news.set()\n", "", "tests/flows/test_reset_updates.py",
    ),
    _mutant(
        "a run ends before a reset is noticed in its last task", "flows/_reset.py",
        "            await self._undone()  # of", "            pass  # of", "tests/flows/test_reset_updates.py",
    ),
    _mutant(
        "a plan ends while the deadline is about to hold it", "flows/_interpreter.py",
        "not (self._ready and self._halted)", "not (self._ready and self._run.control.holds)",
        "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "what is lost before a hold stays lost", "flows/_interpreter.py",
        "            if await self._lost():\n", "            if False:\n", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "a signal that fails a flow arrives before what came with it", "flows/_control.py",
        " or self.failed is not None):", "):", "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "what a local step was sent with isn't recorded", "flows/_step.py",
        "if first and settled.envelope is None:", "if False:", "tests/flows/test_local_untold.py",
    ),
    _mutant(
        "the outcome is always done", "activities/_settled.py",
        "return Settled(Status.UNKNOWN if verdict.unknown else Status.FAILED, verdict, error=error)",
        "return Settled(Status.DONE, verdict, error=error)", OUTCOMES,
    ),
    _mutant(
        "unknown counts as failed", "activities/_settled.py",
        "Status.UNKNOWN if verdict.unknown else Status.FAILED", "Status.FAILED", OUTCOMES,
    ),
    _mutant(
        "a timeout counts as a raise", "activities/_settled.py",
        "return Settled(Status.UNKNOWN, verdict.failed(unknown=True), error=error, again=Again.FAILURE)",
        "return Settled(Status.FAILED, verdict.failed(), error=error, again=Again.FAILURE)", OUTCOMES,
    ),
    _mutant(
        "an earlier attempt's mark is believed, whoever left it", "activities/_attempt.py",
        'if mark.get("raised") and mark.get("attempt") == info.attempt - 1:', "if True:",
        "tests/activities/test_run.py",
    ),
    Mutant(
        "the undo is recorded after scheduling", "flows/_executing.py",
        (
            ("        self._record = self._recorded()\n", "        self._record = None\n"),
            (
                "        if self._record is not None:\n            self._record.settled = settled\n        self.settled",
                "        self._record = self._recorded() if settled.error is None else None\n"
                "        if self._record is not None:\n            self._record.settled = settled\n        self.settled",
            ),
        ),
        (OUTCOMES, "tests/flows/test_cancel.py"),
    ),
    _mutant(
        "a cancel isn't shielded from a result", "flows/_step.py",
        "        await cancel(handle, ask or handle.cancel)\n        return True", "        handle.cancel()\n        raise",
        "tests/flows/test_cancel.py",
    ),
    _mutant(
        "a lost execution counts as a failure", "activities/_settled.py",
        "    return Settled(Status.UNKNOWN, verdict.lost(), error=error, again=Again.LOSS)\n\n\ndef _final",
        "    return Settled(Status.UNKNOWN, verdict.failed(), error=error, again=Again.FAILURE)\n\n\ndef _final",
        OUTCOMES, RESET,
    ),
    _mutant(
        "at_most_once is dispatched again", "flows/_step.py",
        "if settled.again is None or (call.at_most_once and settled.again is not Again.ABSENT):",
        "if settled.again is None:", OUTCOMES,
    ),
    _mutant(
        "a reset isn't noticed", "flows/_reset.py",
        "self._pending = self._noticed_one = True", "self._noticed_one = True", RESET,
    ),
    _mutant(
        "a step that a reset's server dispatched runs", "activities/_run.py",
        "if attempt.header.run != attempt.info.workflow_run_id:", "if False:", RESET,
    ),
    _mutant(
        "the key changes with the attempt", "activities/_run.py",
        "attempt.identity.key(attempt.verdict.generation)", "attempt.identity.key(attempt.number)", OUTCOMES,
    ),
    _mutant(
        "the key is the same for all steps", "activities/_wire.py",
        "str(self.leg), self.step, str(generation)", "str(self.leg), str(generation)", RANDOM,
    ),
    _mutant(
        "a changed input keeps its key", "activities/_run.py",
        "generation=verdict.generation + 1", "generation=verdict.generation", "tests/flows/test_retry_input.py",
    ),
    _mutant(
        "a failed undo ends unwinding", "flows/_undo.py",
        'return bool(self.left) and self._policy.on_undo_failure == "stop"', "return bool(self.left)", POLICY,
    ),
    _mutant(
        "a failed undo is not named", "flows/_undo.py",
        "self.left += [failed] if failed else []", "self.left += []", POLICY,
    ),
    _mutant(
        "a failed step is undone whatever its outcome", "flows/_undo.py",
        'return policy.undo_failed_step == "always" and settled.verdict.called', "return settled.verdict.called",
        POLICY,
    ),
    _mutant(
        "the pivot is no pivot", "flows/_scope.py",
        "{spec.name} - self.run.pivots if spec.pivot else set()", "set()", "tests/sagas/test_pivot.py",
    ),
    _mutant(
        "pause holds nothing back", "flows/_control.py",
        "return self.paused or (held is not None", "return (held is not None", "tests/flows/test_operator.py",
    ),
    _mutant(
        "an equal call runs again", "flows/_calls.py",
        "return found[-1] if found else None", "return None", "tests/flows/test_calls.py",
    ),
    _mutant(
        "equal inputs differ by the order of their keys", "activities/_json.py",
        "sort_keys=True", "sort_keys=False", "tests/activities/test_json.py",
    ),
    _mutant(
        "two runs take over one earlier run", "flows/_resume.py",
        "WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,", "WorkflowIDReusePolicy.ALLOW_DUPLICATE,",
        "tests/flows/test_takeover.py", "tests/flows/test_undo_once.py",
    ),
    _mutant(
        "what was taken over isn't undone", "flows/_run.py",
        "self.taken_records[taken.step] = record", "pass", "tests/flows/test_takeover.py", "tests/flows/test_resume.py",
    ),
    _mutant(
        "an inline saga's plan isn't read", "counterstep/reports/_events.py",
        '"counterstep-plan-inline"', '"counterstep-plan-nothing"',
        "tests/flows/test_inline_undo.py",
    ),
    _mutant(
        "what an inline saga says isn't undone is undone", "flows/_undo_services.py",
        "if taken.header.no_undo or (known and spec is None):", "if known and spec is None:",
        "tests/flows/test_inline_undo.py",
    ),
    _mutant(
        "a resumed run forgets an inline saga's pivot", "flows/_run.py",
        "            if taken.header.pivot:\n", "            if False:\n", "tests/flows/test_inline_pivots.py",
    ),
    _mutant(
        "hold=False says nothing to an inline saga", "flows/_inline.py",
        "inner.may_hold = at.may_hold and options.hold", "inner.may_hold = at.may_hold",
        "tests/flows/test_inline_pivots.py", "tests/flows/test_inline_sagas.py",
    ),
    _mutant(
        "a child that completed hands over nothing", "flows/_child.py", "Handed.beside(payload))", "Handed())", CHILD_FLOWS,
    ),
    _mutant(
        "a child's steps are undone all at once", "flows/_child.py",
        "spliced(self._scope.graph, spec.name, left.edges())",
        "spliced(self._scope.graph, spec.name, dict.fromkeys(left.edges(), ()))", CHILD_FLOWS,
    ),
    _mutant(
        "a child's own policy decides of what it kept", "flows/_undo_services.py",
        "None if itself else _ALL", "None", CHILDREN_LEFT,
    ),
    _mutant(
        "a child that undid itself leaves to its parent what it left on purpose", "flows/_undo_services.py",
        "_stuck(run, gathered, remains) if itself else", "", CHILDREN_LEFT,
    ),
    _mutant(
        "a run that can't be unwound any more goes on", "flows/_run.py",
        "return events <= EVENT_LIMIT and", "return", "tests/flows/test_limits.py",
    ),
    _mutant(
        "the end of a run lets go what a pause held back", "flows/_control.py",
        "        if not self.local and (self.stopped", "        self.paused = False\n        if not self.local and (self.stopped",
        "tests/flows/test_paused_ends.py",
    ),
    _mutant(
        "a pause holds back what a lost task did", "flows/_control.py",
        "            return await asyncio.shield(self._lost)", "            return False",
        "tests/flows/test_lost_before_failure.py",
    ),
    _mutant(
        "a reset run forgets what was done beyond its reset point", "flows/_before_reset.py",
        "not run.guard.passed", "True", "tests/flows/test_reset_unwinds.py",
    ),
    _mutant(
        "what failed after a reset had no effect before it", "flows/_before_reset.py",
        "    _mark_unknown(scope.records, left.steps)\n", "", "tests/flows/test_reset_unwinds.py",
    ),
    _mutant(
        "what a reset applies again is refused until the plan is known", "flows/_operated.py",
        "flow._resolving and info.run_id == info.original_execution_run_id", "flow._resolving",
        "tests/flows/test_reset_updates.py",
    ),
    _mutant(
        "a child that two runs tell of is put into the plan's edges twice", "flows/_undo_services.py",
        """    inner: dict[str, dict[str, tuple[str, ...]]] = {}
    for child in gathered.left.children:
        inner.setdefault(child.call.step, {}).update(child.edges)
    for unit, inside in inner.items():
        edges = spliced(edges, unit, inside)
""",
        """    for child in gathered.left.children:
        edges = spliced(edges, child.call.step, child.edges)
""",
        "tests/flows/test_children_reset.py",
    ),
    _mutant(
        "a reference of a kind that its field never takes is let in", "flows/_kinds.py",
        "not any(_taken(wanted, kind) for kind in kinds)", "False", "tests/sagas/test_kinds.py",
    ),
)  # fmt: skip

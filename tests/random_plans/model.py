"""What calls a saga may make, and how it may end: pure Python, no Temporal, none of our code.

A tree is a list of nodes, one after another: a leaf ``{"name": …}``, a stage ``{"beside": [node, …]}``, a subsaga
``{"name": …, "nodes": [node, …]}``, a child flow ``{"name": …, "child": [node, …], "policy": {…}}``, be it a saga or a
sequence. A leaf may say ``"fault"`` (``fail``, ``flaky``, ``unknown``), ``"undo_fault"`` (``fail``, ``flaky``), ``"no_undo"``,
``"pivot"``, ``"slow"`` and ``"local"``.

A child is a run of its own, which is judged by itself, under its own policy. Its parent sees how it ended, and undoes what
it left: all where it completed, what it did where it kept that, nothing where it undid itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Node = Mapping[str, Any]
Ends = Mapping[str, tuple[str, frozenset[str]]]
ATTEMPTS = {"fail": 2, "unknown": 2, "flaky": 2}
"""How often a step is called that may be called twice."""
NEVER = "never began"
DEADLINE = frozenset({"deadline"})


@dataclass
class Plan:
    """A tree as steps.

    Attributes:
        leaves: by full name, those in children too.
        before: the steps that each comes after, at whatever distance.
        children: the child flows that are its own, by name.
    """

    leaves: dict[str, Node] = field(default_factory=dict)
    before: dict[str, frozenset[str]] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Plan:
        plan = cls()
        plan._line(nodes, "", frozenset())
        return plan

    @property
    def flows(self) -> list[str]:
        """All flows in it, at whatever depth."""
        inner = {name: Plan.of(node["child"]).flows for name, node in self.children.items()}
        return [one for name, found in inner.items() for one in (name, *(f"{name}/{deep}" for deep in found))]

    @property
    def policies(self) -> list[Mapping[str, Any]]:
        """The policies of all of them."""
        inner = self.children.values()
        return [one for node in inner for one in (node["policy"], *Plan.of(node["child"]).policies)]

    def own(self, name: str) -> bool:
        """Whether a step is the flow's own, and none of a child."""
        return self.child_of(name) is None

    def child_of(self, name: str) -> str | None:
        """Give the child that a step is in."""
        return next((child for child in self.children if name.startswith(f"{child}/")), None)

    def _line(self, nodes: Iterable[Node], path: str, before: frozenset[str]) -> frozenset[str]:
        for node in nodes:
            before |= self._node(node, path, before)
        return before

    def _node(self, node: Node, path: str, before: frozenset[str]) -> frozenset[str]:
        if "beside" in node:
            return frozenset().union(*(self._node(n, path, before) for n in node["beside"]))
        name = path + node["name"]
        if "child" in node and self.own(name):
            self.children[name] = node
        if "nodes" in node or "child" in node:
            return self._line(node.get("nodes") or node["child"], f"{name}/", before)
        self.leaves[name], self.before[name] = node, before
        return frozenset({name})


@dataclass(frozen=True)
class Trace:
    """What was recorded outside the worker: ``(name, "begins" | "ends", key, by)`` in order; undos are named ``undo NAME``.

    ``by`` is the flow that called: empty for the one whose trace it is, the name of a child.
    """

    rows: list[tuple[str, str, str, str]]

    def calls(self, undo: bool, by: str | None = None) -> Counter[str]:
        rows = [row for row in self.rows if row[1] == "begins" and by in (None, row[3])]
        return Counter(n.removeprefix("undo ") for n, *_ in rows if n.startswith("undo ") == undo)

    def first(self, name: str) -> int:
        return next(i for i, row in enumerate(self.rows) if row[:2] == (name, "begins"))

    def last(self, name: str, what: str = "ends") -> int:
        return max(i for i, row in enumerate(self.rows) if row[:2] == (name, what))

    def inside(self, path: str) -> Trace:
        """Give what a child did itself, by the names that its steps have in it."""
        rows = [(name.replace(path, "", 1), what, key, f"{by}/") for name, what, key, by in self.rows]
        mine = [(*row, by.removeprefix(path)) for *row, by in rows if by.startswith(path)]
        return Trace([(name, what, key, by.removesuffix("/")) for name, what, key, by in mine])


@dataclass(frozen=True)
class Run:
    """One run of a plan.

    Attributes:
        plan: what was to run.
        policy: under which, as JSON.
        trace: of its calls.
        ends: how it and its children ended, by path, which is empty for its own: ``completed``, ``cancelled``,
            ``never began``, or the type of the failure; and the steps that this names as not undone.
        asked: what may have been asked of it from outside: ``cancel``, ``stop``; its deadline asks, too.
    """

    plan: Plan
    policy: Mapping[str, Any]
    trace: Trace
    ends: Ends
    asked: frozenset[str] = frozenset()

    @property
    def children(self) -> dict[str, Run]:
        """Its children, as runs of their own."""
        return {name: self._child(name, node) for name, node in self.plan.children.items()}

    def _child(self, name: str, node: Node) -> Run:
        path = f"{name}/"
        ends = {flow.removeprefix(path): end for flow, end in self.ends.items() if flow.startswith(path)}
        mine = {**ends, "": self.ends[name]}
        asked = ({"cancel"} if self.cancels else set[str]()) | DEADLINE & set(node["policy"])
        return Run(Plan.of(node["child"]), node["policy"], self.trace.inside(path), mine, frozenset(asked))

    @property
    def end(self) -> str:
        return self.ends[""][0]

    @property
    def left(self) -> frozenset[str]:
        return self.ends[""][1]

    @property
    def handed_on(self) -> set[str]:
        """The steps that its children couldn't undo, which it names too."""
        return {f"{name}/{step}" for name in self.plan.children for step in self.ends[name][1]}

    @property
    def called(self) -> Counter[str]:
        return self.trace.calls(undo=False)

    @property
    def undone(self) -> Counter[str]:
        """What it undid itself; what a child undid is the child's."""
        return self.trace.calls(undo=True, by="")

    @property
    def failed(self) -> set[str]:
        """The steps that failed, in children too: each fails the flow that it is in."""
        return {name for name in self.called if self.fault(name) in ("fail", "unknown")}

    @property
    def fails(self) -> bool:
        """Whether something in it fails it: a step, or a child, which may also have come too late for its deadline."""
        broken = any(self.ends[name][0] not in ("completed", NEVER) for name in self.plan.children)
        return bool(self.failed) or broken

    @property
    def cancels(self) -> bool:
        """Whether something may cancel what is in flight: a failure, or who cancelled the run."""
        return bool(self.asked) or (self.fails and self.policy.get("settle") == "cancel")

    @property
    def continues(self) -> bool:
        """Whether what comes after a failed step runs all the same."""
        return self.policy.get("on_failure") == "continue"

    @property
    def pivoted(self) -> bool:
        """Whether its pivot was called."""
        return any(self.plan.leaves[name].get("pivot") for name in self.called)

    @property
    def may_be_pivoted(self) -> bool:
        """Whether its pivot was called, or asked for, and cancelled before that was heard."""
        ready = {name for name in self.plan.leaves if self.plan.before[name] <= set(self.called)}
        asked = bool(self.asked) and any(self.plan.leaves[name].get("pivot") for name in ready)
        return asked or self.pivoted

    @property
    def keeps(self) -> bool:
        """Whether a failure leaves everything in place; a hold's time is always over, in these runs."""
        rule, then = self.policy.get("on_failure"), self.policy.get("then")
        return self.pivoted or rule in ("keep", "continue") or (rule == "hold" and then == "keep")

    @property
    def kept(self) -> bool:
        """Whether it ended early, and kept what it did; a child that is stuck makes it stuck then, too."""
        if self.may_be_pivoted and not self.undone and self.end in ("cancelled", "Kept"):
            return True
        stuck = self.end == "Stuck" and self.left == self.handed_on and not (self.asked and self.undone)
        return self.keeps and (self.end == "Kept" or stuck)

    def fault(self, name: str) -> str | None:
        return self.plan.leaves[name].get("fault")

    def ended(self, name: str) -> bool:
        """Whether each call of a step came to its end."""
        whats = Counter(what for row, what, *_ in self.trace.rows if row == name)
        return whats["begins"] == whats["ends"]


def verify(run: Run) -> None:
    """Refuse what no run of the plan, and none of its children, may do."""
    for child in run.children.values():
        verify(child)
    if run.end == NEVER:
        assert not run.trace.rows, "it did something, and never began"
        return
    _forward(run)
    _together(run)
    _keys(run.trace)
    _ends(run)
    if run.end == "completed" or run.kept:
        assert not run.undone and run.left == run.handed_on, (
            f"nothing was to be undone: {run.undone} {run.left}"
        )
        return
    _backward(run)
    _left(run)


def _ends(run: Run) -> None:
    """Refuse an end that doesn't follow from what failed; a cancel may have come before it, or too late."""
    early = {"cancel": "cancelled", "stop": "RolledBack", "deadline": "RolledBack"}
    if run.end in {"Stuck", *map(early.get, run.asked)} and run.asked:
        return
    if run.end == "Kept" and run.asked and run.may_be_pivoted:
        return
    if not run.fails:
        assert run.end == "completed", f"nothing failed, and it ended as {run.end}"
    elif run.keeps:
        kept = "Stuck" if run.handed_on else "Kept"
        assert run.end == kept, f"it was to keep everything, and ended as {run.end}"


def _forward(run: Run) -> None:
    for name, times in run.called.items():
        most = ATTEMPTS.get(str(run.fault(name)), 1)
        cut = run.cancels or not run.plan.own(name)  # a child's are judged there
        right = times == most or (cut and times < most) or (_again(run, name) and times > most)
        assert right, f"{name} was called {times} times, not {most}"
        inside = run.plan.child_of(name)
        for before in run.plan.before[name]:
            child = run.plan.child_of(before)
            if child is not None and (child == inside or (run.continues and before not in run.called)):
                continue  # it is judged there; or it isn't there, since its flow had failed
            assert before in run.called and (run.continues or before not in run.failed), (
                f"{name} came after {before}, never done"
            )
            done = run.trace.first(before) if _again(run, before) else run.trace.last(before)
            assert done < run.trace.first(name), f"{name} began before {before} had ended"
    all_of = {name for name in run.plan.leaves if run.plan.own(name) or not run.fails}
    if run.end == "completed" or not (run.asked or (run.fails and not run.continues)):
        assert all_of <= set(run.called), f"never called: {all_of - set(run.called)}"


def _together(run: Run) -> None:
    """Refuse more at once than a plan's policy allows; of what may be done again nobody knows."""
    most, works = run.policy.get("max_parallel"), Counter[str]()
    if most is None or any(_again(run, name) for name in run.plan.leaves):
        return
    for name, what, _, by in run.trace.rows:
        undo = name.startswith("undo ")
        if by == "" and (undo or run.plan.own(name)):
            works[name] += 1 if what == "begins" else -1
            assert sum(works.values()) <= most, f"{+works} at once, not {most}"


def _again(run: Run, name: str) -> bool:
    """Whether a step may be done again: a local one, in a task that Temporal didn't take."""
    return bool(run.plan.leaves[name].get("local"))


def _keys(trace: Trace) -> None:
    keys: dict[str, set[str]] = {}
    for name, _, key, _ in trace.rows:
        keys.setdefault(name.removeprefix("undo "), set()).add(key)
    assert all(len(own) == 1 for own in keys.values()), f"a step had two keys: {keys}"
    assert len(set().union(*keys.values())) == len(keys), "two steps had one key"


def _standing(run: Run) -> tuple[set[str], set[str]]:
    """Give the steps with an undo that stood when a run failed, and those that may have: a cancel hit them, perhaps before
    they began."""
    done = set(run.called) - (set() if run.continues else run.failed)
    ready = {n for n in _undoable(run) if run.plan.own(n) and run.plan.before[n] <= done}
    ready |= {n for n in _undoable(run) & set(run.called) if run.continues and run.plan.own(n)}
    sure = ready & set(run.called)
    if run.cancels:
        sure = {name for name in sure if run.fault(name) is None and run.ended(name)}
    maybe = ready - sure if run.cancels else set[str]()
    for path, child in run.children.items():
        for mine, theirs in zip((sure, maybe), _handed(child), strict=True):
            mine |= {f"{path}/{name}" for name in theirs}
    return sure, maybe


def _handed(run: Run) -> tuple[set[str], set[str]]:
    """Give what a child hands to its parent, of which that decides: all of it, what it kept, or nothing."""
    if run.end == "completed":
        return _undoable(run), set()
    return _standing(run) if run.kept else (set(), set())


def _undoable(run: Run) -> set[str]:
    return {name for name, leaf in run.plan.leaves.items() if not leaf.get("no_undo")}


def _wanted(run: Run) -> tuple[set[str], set[str]]:
    """Give the steps that must be undone, and those that may be."""
    rule = run.policy.get("undo_failed_step", "unknown")
    undone_if = {None: True, "flaky": True, "unknown": rule != "never", "fail": rule == "always"}
    sure, maybe = _standing(run)
    return {name for name in sure if undone_if[run.fault(name)]}, maybe


def _backward(run: Run) -> None:
    sure, maybe = _wanted(run)
    undone, trace = run.undone, run.trace
    assert set(undone) <= sure | maybe, f"undone though not wanted: {set(undone) - sure - maybe}"
    theirs = [i for i, row in enumerate(trace.rows) if _counts(run, *row)]
    for name in undone:  # of what was done again with all that was local before it, the last time counts
        began = trace.last(f"undo {name}", "begins") if _again(run, name) else trace.first(f"undo {name}")
        assert began > max(theirs), f"{name} was undone while something still ran"
        for after in (n for n in undone if name in run.plan.before[n]):
            assert trace.last(f"undo {after}") < began, f"{name} was undone before {after}"


def _counts(run: Run, name: str, what: str, _: str, by: str) -> bool:
    """Whether an undo waits for a row: what a child undid, too; not for the end of a local step that its worker forgot."""
    if name.startswith("undo "):
        return bool(by)
    return what == "begins" or not _again(run, name)


def _left(run: Run) -> None:
    sure, maybe = _wanted(run)
    undone = run.undone
    for name, times in undone.items():
        most = 2 if run.plan.leaves[name].get("undo_fault") else 1
        right = times == most or (_again(run, name) and times > most)
        assert right, f"undo of {name}: {times} calls, not {most}"
    broken = {name for name in undone if run.plan.leaves[name].get("undo_fault") == "fail"}
    untried = sure - set(undone)
    named = broken | untried | run.handed_on
    assert named <= run.left <= named | maybe, f"named as not undone: {set(run.left)}, not {named}"
    ends = {"Stuck"} if run.left else {"RolledBack", *(("cancelled",) if "cancel" in run.asked else ())}
    assert run.end in ends, f"{set(run.left)} left, and it ended as {run.end}"
    if not broken or run.policy.get("on_undo_failure") != "stop":
        assert not untried, f"never tried: {untried}"

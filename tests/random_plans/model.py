"""What calls a saga may make, and how it may end: pure Python, no Temporal, none of our code.

A tree is a list of nodes, one after another: a leaf ``{"name": …}``, a stage ``{"beside": [node, …]}``, a subsaga
``{"name": …, "nodes": [node, …]}``. A leaf may say ``"fault"`` (``fail``, ``flaky``, ``unknown``), ``"undo_fault"`` (``fail``,
``flaky``), ``"no_undo"``, ``"pivot"``, ``"slow"`` and ``"local"``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Node = Mapping[str, Any]
ATTEMPTS = {"fail": 2, "unknown": 2, "flaky": 2}
"""How often a step is called that may be called twice."""


@dataclass
class Plan:
    """A tree as steps.

    Attributes:
        leaves: by full name.
        before: the steps that each comes after, at whatever distance.
    """

    leaves: dict[str, Node] = field(default_factory=dict)
    before: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Plan:
        plan = cls()
        plan._line(nodes, "", frozenset())
        return plan

    def _line(self, nodes: Iterable[Node], path: str, before: frozenset[str]) -> frozenset[str]:
        for node in nodes:
            before |= self._node(node, path, before)
        return before

    def _node(self, node: Node, path: str, before: frozenset[str]) -> frozenset[str]:
        if "beside" in node:
            return frozenset().union(*(self._node(n, path, before) for n in node["beside"]))
        name = path + node["name"]
        if "nodes" in node:
            return self._line(node["nodes"], f"{name}/", before)
        self.leaves[name], self.before[name] = node, before
        return frozenset({name})


@dataclass(frozen=True)
class Trace:
    """What was recorded outside the worker: ``(name, "begins" | "ends", key)`` in order; undos are named ``undo NAME``."""

    rows: list[tuple[str, str, str]]

    def calls(self, undo: bool) -> Counter[str]:
        names = [name for name, what, _ in self.rows if what == "begins"]
        return Counter(n.removeprefix("undo ") for n in names if n.startswith("undo ") == undo)

    def first(self, name: str) -> int:
        return next(i for i, row in enumerate(self.rows) if row[:2] == (name, "begins"))

    def last(self, name: str) -> int:
        return max(i for i, row in enumerate(self.rows) if row[:2] == (name, "ends"))


@dataclass(frozen=True)
class Run:
    """One run of a plan.

    Attributes:
        plan: what was to run.
        policy: under which, as JSON.
        trace: of its calls.
        end: ``completed``, or the type of its failure.
        left: the steps that its failure names as not undone.
    """

    plan: Plan
    policy: Mapping[str, Any]
    trace: Trace
    end: str
    left: frozenset[str]

    @property
    def called(self) -> Counter[str]:
        return self.trace.calls(undo=False)

    @property
    def undone(self) -> Counter[str]:
        return self.trace.calls(undo=True)

    @property
    def failed(self) -> set[str]:
        return {name for name in self.called if self.fault(name) in ("fail", "unknown")}

    @property
    def cancels(self) -> bool:
        """Whether a failure cancels what is in flight."""
        return bool(self.failed) and self.policy.get("settle") == "cancel"

    @property
    def keeps(self) -> bool:
        """Whether a failure leaves everything in place; a hold's time is always over, in these runs."""
        rule, then = self.policy.get("on_failure"), self.policy.get("then")
        pivoted = any(self.plan.leaves[name].get("pivot") for name in self.called)
        return pivoted or rule == "keep" or (rule == "hold" and then == "keep")

    def fault(self, name: str) -> str | None:
        return self.plan.leaves[name].get("fault")

    def ended(self, name: str) -> bool:
        """Whether each call of a step came to its end."""
        whats = Counter(what for row, what, _ in self.trace.rows if row == name)
        return whats["begins"] == whats["ends"]


def verify(run: Run) -> None:
    """Refuse what no run of the plan may do."""
    _forward(run)
    _keys(run.trace)
    if not run.failed:
        assert run.end == "completed", f"nothing failed, and it ended as {run.end}"
    elif run.keeps:
        assert run.end == "Kept", f"it was to keep everything, and ended as {run.end}"
    if not run.failed or run.keeps:
        assert not run.undone and not run.left, f"nothing was to be undone: {run.undone} {run.left}"
        return
    _backward(run)
    _left(run)


def _forward(run: Run) -> None:
    for name, times in run.called.items():
        most = ATTEMPTS.get(str(run.fault(name)), 1)
        assert times == most or (run.cancels and times < most), f"{name} was called {times} times, not {most}"
        for before in run.plan.before[name]:
            assert before in run.called and before not in run.failed, (
                f"{name} came after {before}, never done"
            )
            assert run.trace.last(before) < run.trace.first(name), f"{name} began before {before} had ended"
    if not run.failed:
        assert set(run.called) == set(run.plan.leaves), (
            f"never called: {set(run.plan.leaves) - set(run.called)}"
        )


def _keys(trace: Trace) -> None:
    keys: dict[str, set[str]] = {}
    for name, _, key in trace.rows:
        keys.setdefault(name.removeprefix("undo "), set()).add(key)
    assert all(len(own) == 1 for own in keys.values()), f"a step had two keys: {keys}"
    assert len(set().union(*keys.values())) == len(keys), "two steps had one key"


def _wanted(run: Run) -> tuple[set[str], set[str]]:
    """Give the steps that must be undone, and those that may be: a cancel hit them, perhaps before they began."""
    rule = run.policy.get("undo_failed_step", "unknown")
    undone_if = {None: True, "flaky": True, "unknown": rule != "never", "fail": rule == "always"}
    undoable = {name for name, leaf in run.plan.leaves.items() if not leaf.get("no_undo")}
    sure = {name for name in undoable & set(run.called) if undone_if[run.fault(name)]}
    if not run.cancels:
        return sure, set()
    ready = {n for n in undoable if run.plan.before[n] <= set(run.called) - run.failed}
    sure = {name for name in sure if run.fault(name) is None and run.ended(name)}
    return sure, ready - sure


def _backward(run: Run) -> None:
    sure, maybe = _wanted(run)
    undone, trace = run.undone, run.trace
    assert set(undone) <= sure | maybe, f"undone though not wanted: {set(undone) - sure - maybe}"
    forward_end = max(i for i, row in enumerate(trace.rows) if not row[0].startswith("undo "))
    for name in undone:
        assert trace.first(f"undo {name}") > forward_end, f"{name} was undone while something still ran"
        for after in (n for n in undone if name in run.plan.before[n]):
            last = trace.last(f"undo {after}")
            assert last < trace.first(f"undo {name}"), f"{name} was undone before {after}"


def _left(run: Run) -> None:
    sure, maybe = _wanted(run)
    undone = run.undone
    for name, times in undone.items():
        most = 2 if run.plan.leaves[name].get("undo_fault") else 1
        assert times == most, f"undo of {name}: {times} calls, not {most}"
    broken = {name for name in undone if run.plan.leaves[name].get("undo_fault") == "fail"}
    untried = sure - set(undone)
    assert broken | untried <= run.left <= broken | untried | maybe, f"named as not undone: {set(run.left)}"
    assert run.end == ("Stuck" if run.left else "RolledBack"), (
        f"{set(run.left)} left, and it ended as {run.end}"
    )
    if not broken or run.policy.get("on_undo_failure") != "stop":
        assert not untried, f"never tried: {untried}"

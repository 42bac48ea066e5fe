"""Putting steps under the inline flows and subsagas that their names tell of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from activities import Definition, Status
from activities._wire import without_leg
from counterstep.reports._report import Kind, Planned, Report
from counterstep.reports._run_history import RunHistory

AnyReport = Report[Any, Any]
Plans = tuple[tuple[Planned, ...], Mapping[str, tuple[Planned, ...]]]
_BADLY = (Status.FAILED, Status.UNKNOWN)
_WAITING = (Kind.WAIT, Kind.APPROVAL)
_UNTOLD = "0.0.0"
_EARLIER = "~"


@dataclass(frozen=True)
class Leaf:
    """A report on its way to its place.

    Attributes:
        order: of its first event.
        flows: definitions of the inline flows around it, outermost first; ``None`` when a slash in its name means none.
        report: of a step, a wait, an approval or a child run.
    """

    order: int
    flows: tuple[str, ...] | None
    report: AnyReport


@dataclass(frozen=True)
class Within:
    """What a flow is inline in.

    Attributes:
        run: workflow id of the run; empty for a run itself.
        bare: whether the steps had their names without a leg when they were handed over: those of the last leg.
    """

    run: str = ""
    bare: bool = False


def nested(
    run: RunHistory,
    leaves: Sequence[Leaf],
    plans: Plans,
    id_of: Callable[[str], str],
    version: str,
) -> tuple[AnyReport, ...]:
    """Nest reports by their names, in the order given.

    Args:
        run: that they are of.
        leaves: what there is.
        plans: say what sagas and subsagas consist of: the run's own, and those of inline sagas by their names.
        id_of: gives the id of an inline flow.
        version: of the saga, which its subsagas share.
    """
    nesting = _Nesting(run, plans, id_of, version, max((leaf.order for leaf in leaves), default=0))
    return nesting.nest(leaves, "")


def grafted(
    flow: AnyReport, path: str, undos: dict[str, AnyReport], by: tuple[str, str], *, within: Within = Within()
) -> AnyReport:
    """Give a child flow's report with the undos of its steps that its parent did, and take those out of ``undos``.

    Args:
        flow: of a child flow, or inline in one.
        path: that the parent's names of its steps begin with.
        undos: by the parent's names.
        by: workflow id and run id of the parent; an undo by another run says so itself.
        within: where it is inline, in what.
    """
    children = []
    for child, name, where in _placed(flow, path, within):
        if child.is_flow:
            children.append(grafted(child, name, undos, by, within=where))
        elif name in undos:
            undo = undos.pop(name)
            spot = undo.spot and undo.spot.later(len(child.earlier_undos))
            undo = replace(undo, step=child.step, in_run=undo.in_run or by, spot=spot)
            children.append(replace(child, undo=undo))
        else:
            children.append(child)
    return replace(flow, children=tuple(children))


def names_in(flow: AnyReport, path: str, *, within: Within = Within()) -> Iterator[str]:
    """Give the names that a parent has for the steps of a child flow; for the arguments see :func:`grafted`."""
    for child, name, where in _placed(flow, path, within):
        if child.is_flow:
            yield from names_in(child, name, within=where)
        else:
            yield name


def _placed(flow: AnyReport, path: str, within: Within) -> Iterator[tuple[AnyReport, str, Within]]:
    """Give what is in a flow, with a step's name or a flow's path, and what it is in."""
    if flow.run is not None:
        within = Within(flow.run.workflow_id)
    newest = next((child for child in reversed(flow.children) if child.kind is Kind.LEG), None)
    for child in flow.children:
        own = without_leg(child.step) if within.bare else child.step
        if not child.is_flow:
            yield child, f"{path}{own}", within
        elif child.run is None:
            yield child, path, replace(within, bare=within.bare or child is newest)
        else:
            leg = own.removesuffix(without_leg(own))
            yield child, f"{path}{leg}{child.run.workflow_id.removeprefix(f'{within.run}/')}/", Within()


def earlier_name(step: str, number: int) -> str:
    """Name an earlier run of a child that ran again, counted from 1: its step's name is that of the last."""
    return f"{step}{_EARLIER}{number}"


def _owner(name: str, reports: Collection[str]) -> str:
    """Give whose steps have names under a name: those of a child that ran again have names of that run."""
    step = name.rpartition(_EARLIER)[0]
    return step if step in reports else name


def _with(report: AnyReport, known: Sequence[AnyReport]) -> AnyReport:
    """Put into a child's report what only its parent knows of its steps."""
    return replace(report, children=(*known, *report.children)) if known else report


def ran_again(report: AnyReport, beside: Sequence[AnyReport]) -> bool:
    """Whether a child ran again after this run of it."""
    step, earlier, _ = report.step.rpartition(_EARLIER)
    return bool(earlier) and any(other.step == step for other in beside)


def _first(name: str) -> str:
    """Give the name that a flow's first run in a series, or before it ran again, had."""
    return name.partition(".")[0].partition(_EARLIER)[0]


class _Nesting:
    def __init__(
        self,
        run: RunHistory,
        plans: Plans,
        id_of: Callable[[str], str],
        version: str,
        newest: int,
    ) -> None:
        self._run, self._id, self._version, self._newest = run, id_of, version, newest
        own, self._inline = plans
        self._plan = {step.name: step for steps in (own, *self._inline.values()) for step in steps}
        self._sagas = {one.name: definition_in(one.plan) for one in run.inline}
        self._results = _results(run.plan or {})
        for one in run.inline:
            self._results |= _results(one.plan, one.path)
            self._results[one.name] = _under(one.path, one.plan.get("result"))

    def nest(self, leaves: Sequence[Leaf], path: str) -> tuple[AnyReport, ...]:
        groups: dict[str, list[Leaf]] = {}
        for leaf in leaves:
            name, slash, _ = leaf.report.step[len(path) :].partition("/")
            name = path + name if slash and leaf.flows is not None else leaf.report.step
            groups.setdefault(name, []).append(leaf)
        own = {leaf.report.step for leaf in leaves}
        under: dict[str, list[AnyReport]] = {}
        for name, group in groups.items():
            known = self.nest([leaf for leaf in group if leaf.report.step != name], f"{name}/")
            under.setdefault(_owner(name, own), []).extend(known)
        reports: list[AnyReport] = []
        for name, group in groups.items():
            if name in own:
                reports += (
                    _with(leaf.report, under.get(name, ())) for leaf in group if leaf.report.step == name
                )
            elif _owner(name, own) == name:
                reports.append(self._flow(name, group, path, tuple(under[name])))
        return tuple(reports)

    def _flow(self, name: str, leaves: list[Leaf], path: str, children: tuple[AnyReport, ...]) -> AnyReport:
        """Make the report of an inline flow, which leaves no event of its own: its input is unknown."""
        outcome = self._outcome(name, leaves, children)
        failed = next((c for c in children if c.outcome in _BADLY and not ran_again(c, children)), None)
        ends = [child.finished for child in children if child.finished]
        finished = max(ends, default=None) if outcome else None
        times = [child.scheduled for child in children if child.scheduled]
        began = min(times, default=None)
        kind, definition = self._definition(name, leaves, path.count("/"))
        return Report(
            id=self._id(name),
            definition=definition,
            step=name,
            input=None,
            outcome=outcome,
            timestamp=finished,
            error=failed.error if failed else None,
            children=children,
            scheduled=began,
            started=began,
            finished=finished,
            is_flow=True,
            kind=kind,
            plan=self._inline.get(name, ()),
            result=self._result(name, leaves) if outcome is Status.DONE else (),
        )

    def _definition(self, name: str, leaves: list[Leaf], depth: int) -> tuple[Kind, Definition]:
        own = name.rpartition("/")[2]
        if own.startswith("leg:"):
            return Kind.LEG, Definition(own.replace(":", "-"), self._version)
        if name in self._sagas:
            return Kind.FLOW, self._sagas[name]
        depth -= name.startswith("leg:")
        flows = next((leaf.flows for leaf in leaves if leaf.flows and len(leaf.flows) > depth), None)
        if flows is not None:
            return Kind.FLOW, Definition.parse(flows[depth])
        if self._run.plan is None and all(leaf.report.kind in _WAITING for leaf in leaves):
            return Kind.FLOW, Definition(_first(own), _UNTOLD)
        around = (saga.version for flow, saga in self._sagas.items() if name.startswith(f"{flow}/"))
        return Kind.SUBSAGA, Definition(_first(own), next(around, self._version))

    def _outcome(self, name: str, leaves: list[Leaf], children: tuple[AnyReport, ...]) -> Status | None:
        """Say how an inline flow ended; of one that is open it is known only once something came after it."""
        last = [child for child in children if not ran_again(child, children)]
        if any(child.outcome in _BADLY for child in last):
            return Status.FAILED
        if any(child.outcome is None for child in children):
            return None
        if name in self._results:
            there = {leaf.report.step for leaf in leaves}
            missing = [
                step.name
                for step in self._plan.values()
                if step.name.startswith(f"{name}/") and step.kind not in ("constant", "subsaga")
                and step.name not in there
            ]  # fmt: skip
            ended = not self._run.is_open
            return Status.DONE if not missing else Status.FAILED if ended else None
        over = not self._run.is_open or self._newest > max(leaf.order for leaf in leaves)
        return Status.DONE if over else None

    def _result(self, name: str, leaves: list[Leaf]) -> tuple[Any, ...]:
        """Give a subsaga's output, which is that of one of its steps."""
        wanted = self._results.get(name)
        while wanted in self._results:
            wanted = self._results[wanted]
        return next((leaf.report.result for leaf in leaves if leaf.report.step == wanted), ())


def _results(plan: Mapping[str, Any], path: str = "") -> dict[str, str | None]:
    """Give the step whose output is that of each subsaga of a plan, as they are named under a path."""
    subsagas = (step for step in plan.get("steps", ()) if step.get("kind") == "subsaga")
    return {path + step["name"]: _under(path, step.get("result")) for step in subsagas}


def _under(path: str, name: str | None) -> str | None:
    return None if name is None else path + name


def definition_in(plan: Mapping[str, Any]) -> Definition:
    """Give what a recorded plan says it is: one that was typed or found by a range says so itself."""
    return Definition(plan.get("id", "saga"), plan.get("version", "0.0.0"), plan.get("description", ""))

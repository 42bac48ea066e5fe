"""What waits for an operator in a run, by the names that updates take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from activities import Definition
from counterstep.reports._asked import Asked
from counterstep.reports._report import Kind, Report, Waiting
from counterstep.reports._run_history import RunHistory
from counterstep.reports._words import name_of

AnyReport = Report[Any, Any]
_LEG = re.compile(r"leg:(\d+)/")


def waiting_of(
    run: RunHistory,
    asked: Asked,
    reports: Mapping[str, AnyReport],
    undos: Mapping[str, AnyReport],
    flow: Definition,
) -> Iterator[Waiting]:
    """Give what waits for an operator; what is in the newest leg is named without it.

    Args:
        run: that is held.
        asked: about it.
        reports: of its steps, approvals and child flows, by name.
        undos: that it did of the steps of its child flows, by its own names.
        flow: what it is.
    """
    newest = max((leg for name in reports if (leg := _leg_of(name)) is not None), default=None)
    for name, state in asked.open:
        if state == "next attempt":
            continue
        about = reports.get(name)
        if state == "parked":
            about = undos.get(name) or (about and about.undo)
        approval = about is not None and about.kind is Kind.APPROVAL
        typed = state == "held" and not (approval or asked.is_deadline(name))
        back = state == "parked" or not (run.passed_pivot or about is None or approval)
        yield Waiting(
            step=_LEG.sub("", name, count=1) if _leg_of(name) == newest else name,
            state=state,
            what=_what(about, flow),
            why=str(about.error.root) if about and about.error else "",
            updates=("retry", "skip", *(("edit",) if typed else ()), *(("unwind",) if back else ())),
        )


def _leg_of(name: str) -> int | None:
    leg = _LEG.match(name)
    return int(leg[1]) if leg else None


def _what(about: AnyReport | None, flow: Definition) -> str:
    if about is None:
        return name_of(flow)
    return about.kind.value if about.kind is Kind.APPROVAL else name_of(about.definition)

"""Lists: every operation once, newest first, while operations start and end.

Temporal's own order puts open runs before closed ones, so a run that closes while one pages appears twice; and its token is bound
to nothing. So a page is read in *windows of start time*, which never changes, and a page token is a place in that order.

A flow that continues as new, or whose id is used again, has several runs. It is listed at the newest of those that were there
when the list began (``bound``); which one that is doesn't change while one pages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.longrunning.operations_pb2 import ListOperationsRequest, ListOperationsResponse

from counterstep.gateway._errors import invalid
from counterstep.gateway._filter import All, Comparison, Filter, parse
from counterstep.gateway._names import parent_of
from counterstep.gateway._packing import SIZE_LIMIT
from counterstep.gateway._page_token import Place, read_token
from counterstep.gateway._states import OPEN
from counterstep.gateway._temporal import Run, Temporal
from counterstep.gateway._view import View
from counterstep.gateway._windows import Windows, moment
from counterstep.reports import INTERNAL

DEFAULT_SIZE = 50
SCAN_LIMIT = 2000
"""Runs that one page looks at; then it ends short, as AIP-158 allows."""

TIME_LIMIT = 10.0
_AT_ONCE = 16

Look = Callable[[str, str], Awaitable[tuple[Run, View] | None]]
"""Gives the newest run of a workflow id and its operation, unless there is none or it is hidden."""


@dataclass
class _Page:
    """What a page holds so far."""

    size: int
    scanned: int = 0
    bytes: int = 0
    began: float = 0.0

    def __post_init__(self) -> None:
        self.found: list[View] = []
        self.began = time.monotonic()

    @property
    def full(self) -> bool:
        late = self.scanned >= SCAN_LIMIT or time.monotonic() - self.began > TIME_LIMIT
        return len(self.found) >= self.size or (late and self.scanned > 0)

    def takes(self, view: View) -> bool:
        """Take an operation, unless the answer would grow too large with it."""
        size = view.operation.ByteSize()
        if self.found and self.bytes + size > SIZE_LIMIT:
            return False
        self.bytes += size
        self.found.append(view)
        return True


class Listing:
    """Makes pages."""

    def __init__(self, temporal: Temporal, look: Look, page_limit: int) -> None:
        """Take what it reads with."""
        self._temporal = temporal
        self._look = look
        self._limit = page_limit

    async def page(self, request: ListOperationsRequest) -> ListOperationsResponse:
        """Give the page that a request asks for.

        Raises:
            GatewayError: INVALID_ARGUMENT, naming the field.
        """
        wanted, parent = parse(request.filter), parent_of(request.name)
        page = _Page(self._size(request.page_size))
        scope = f"{self._temporal.namespace}\n{parent}\n{request.filter}"
        place = read_token(request.page_token, scope) if request.page_token else None
        place = await self._fill(page, place, wanted, parent)
        return ListOperationsResponse(
            operations=[view.operation for view in page.found],
            next_page_token=place.token(scope) if place else "",
        )

    def _size(self, asked: int) -> int:
        if asked < 0:
            raise invalid("page_size", "must not be negative", "INVALID_PAGE_SIZE")
        return min(asked or DEFAULT_SIZE, self._limit)

    async def _fill(self, page: _Page, place: Place | None, wanted: Filter, parent: str) -> Place | None:
        """Fill a page from a place on; give the place where the next one begins, if there may be one."""
        windows = Windows(self._temporal, _query(wanted), page.size)
        async for window in windows.below(place):
            for chunk in _chunks(window.runs, page.size):
                bound = place.bound if place else chunk[0].start
                views = await asyncio.gather(*(self._listed(run, bound, parent) for run in chunk))
                for run, view in zip(chunk, views, strict=True):
                    if page.full or (view and wanted.holds(view.facts) and not page.takes(view)):
                        return place
                    page.scanned += 1
                    place = Place(bound, run.start, run.run_id, window.width)
            if page.full:
                return place if window.more else None
        return None

    async def _listed(self, run: Run, bound: int, parent: str) -> View | None:
        """Show the operation of a run, if it is listed at this one of its runs."""
        found = await self._look(run.workflow_id, parent)
        if found is None:
            return None
        newest, view = found
        if newest.run_id == run.run_id:
            return view
        if newest.start <= bound or await self._between(run, bound):
            return None
        return view

    async def _between(self, run: Run, bound: int) -> bool:
        """Whether a flow has a newer run that was there when the list began."""
        literal = run.workflow_id.replace("\\", "\\\\").replace("'", "\\'")
        times = f"StartTime > '{moment(run.start)}' AND StartTime <= '{moment(bound)}'"
        return await self._temporal.count(f"WorkflowId = '{literal}' AND {times}") > 0


def _chunks(runs: list[Run], size: int) -> list[list[Run]]:
    step = min(_AT_ONCE, size)
    return [runs[at : at + step] for at in range(0, len(runs), step)]


def _query(wanted: Filter) -> str:
    """Say to Temporal which runs may matter: at least all that do. The filter itself is decided later."""
    terms = wanted.terms if isinstance(wanted, All) else (wanted,)
    internal = ", ".join(f"'{name}'" for name in INTERNAL)
    narrower = [_narrower(term) for term in terms if isinstance(term, Comparison) and term.equal]
    return " AND ".join([f"WorkflowType NOT IN ({internal})", *filter(None, narrower)])


def _narrower(term: Comparison) -> str:
    if term.field == "definition":
        return _types(term.value)
    if term.value == "false" or term.value in OPEN:
        # 'Terminated' is also the run that a reset replaced
        return "ExecutionStatus NOT IN ('Completed', 'Failed', 'Canceled', 'TimedOut')"
    return "ExecutionStatus != 'Running'"


def _types(definition: str) -> str:
    """Match every type that a flow's runs may have had: ``id``, ``id@^1`` and ``id@1.0.0`` are one flow's."""
    if definition.endswith("*") and "@" not in definition:
        literal = _literal(definition[:-1])
        return f"WorkflowType STARTS_WITH {literal}" if definition != "*" else ""
    id_ = definition.partition("@")[0]
    return f"(WorkflowType = {_literal(id_)} OR WorkflowType STARTS_WITH {_literal(id_ + '@')})"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

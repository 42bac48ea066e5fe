"""The trace that a run is in: what its steps and children are told of it, and who hears of its beginning and end."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from temporalio import workflow
from temporalio.common import RawValue

from activities._spans import Trace, flow_span
from counterstep.reports import CARRIED, CLAIM, Begun
from flows._root import Root

PART = 5_000
"""Steps after which a run goes on in another trace, linked to the first: larger ones are too much for many viewers."""

_CARRIED = f'{{"{CARRIED}":'.encode()


class Watcher(Protocol):
    """Who hears of runs, from a worker's workflow threads; must never block, nor raise."""

    def began(self, begun: Begun) -> None:
        """Take note that a run began."""
        ...

    def ended(self, workflow_id: str, run_id: str) -> None:
        """Take note that a run is about to close."""
        ...


class RunSpans:
    """Where the spans of one run stand.

    Attributes:
        steps: how many the flow has begun, over all its runs.
        origin: the run id in which the flow itself began.
    """

    def __init__(self, watcher: Watcher | None = None, args: Sequence[Any] = ()) -> None:
        """Take what the run is started with, and who hears of it."""
        self._info, self._watcher = workflow.info(), watcher
        self._goes_on = self._info.continued_run_id is not None and any(map(_is_carried, args))
        self.steps = 0
        self.origin = self._info.original_execution_run_id
        self._found: tuple[Trace, Trace] | None = None

    def restore(self, origin: str, steps: int) -> None:
        """Go on where an earlier run of the flow ended."""
        self.origin, self.steps = origin, steps
        self._found = None

    def step(self, *, taken: bool) -> dict[str, Any]:
        """Give what the header of the next step says.

        Args:
            taken: whether it was an earlier flow's step, whose key it has.
        """
        part = self._part()
        self.steps += 1
        return {"part": part, "trace": self._trace().stamp(self.origin) if taken else self.stamp()}

    def child(self) -> dict[str, Any]:
        """Give what a child is told: the trace, and its parent's span there."""
        part = self._part()
        self.steps += 1
        return {"part": part, "trace": self._trace().stamp(), "span": self._span(part)}

    def stamp(self) -> str | None:
        """Give what the headers of its steps say of the trace: nothing, where that can be derived."""
        trace, derived = self._traces()
        known = (trace.id, trace.sampled) == (derived.id, derived.sampled)
        return None if known else trace.stamp()

    def began(self) -> None:
        """Tell that the flow began, unless it goes on from an earlier run."""
        info, trace = self._info, self._trace()
        if self._watcher is None or self._goes_on or workflow.unsafe.is_replaying():
            return
        self._watcher.began(
            Begun(
                namespace=info.namespace,
                workflow_id=info.workflow_id,
                origin=self.origin,
                workflow_type=info.workflow_type,
                at=info.workflow_start_time,
                trace=trace,
            )
        )

    def ended(self) -> None:
        """Tell that the run is about to close; a claim is nobody's flow."""
        if self._watcher is None or workflow.unsafe.is_replaying() or self._info.workflow_type == CLAIM:
            return
        self._watcher.ended(self._info.workflow_id, self._info.run_id)

    def _trace(self) -> Trace:
        return self._traces()[0]

    def _traces(self) -> tuple[Trace, Trace]:
        """Give the trace, and the one that follows from what the steps' headers say anyway."""
        if self._found is None:
            info, root = self._info, Root.of_run()
            whole = (root.workflow_id, root.origin) if root else (info.workflow_id, self.origin)
            derived = Trace.derived(info.namespace, *whole)
            self._found = (Trace.of(info.headers) or derived, derived)
        return self._found

    def _part(self) -> int:
        return self._trace().part + self.steps // PART

    def _span(self, part: int) -> str:
        info, first = self._info, self._trace().part
        kind = "flow" if part == first else f"part {part}"
        return flow_span(info.namespace, info.workflow_id, self.origin, kind=kind)


SPANS: ContextVar[RunSpans | None] = ContextVar("counterstep_spans", default=None)
"""Set by the worker's interceptor around each run."""


def _is_carried(arg: Any) -> bool:
    """Whether a start input is what an earlier run of the same flow handed on."""
    return isinstance(arg, RawValue) and arg.payload.data.startswith(_CARRIED)

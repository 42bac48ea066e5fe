"""What a run shows of itself: the query ``status``, the Temporal UI's current details, the memo."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from temporalio import workflow

from activities._failure import cut
from activities._json import size
from flows._control import Control
from flows._metadata import FlowMetadata
from flows._metrics import count_flow

MEMO = "counterstep"
MEMO_LIMIT = 2048
ROW_LIMIT = 200
_GAP = "\u2003"  # the tables in the UI have no space between their columns
ENDED = frozenset({"completed", "rolled_back", "stuck", "kept", "cancelled", "refused"})
ENDED_WELL = frozenset({"done", "skipped", "approved"})
AT_WORK = frozenset({"running", "waiting", "waiting for approval", "held", "parked", "undoing"})


class Board:
    """Step states, in the order in which steps appeared."""

    def __init__(self, flow: str, control: Control) -> None:
        """Begin for a flow; ``control`` says whether it is paused."""
        self._control = control
        self._flow = flow
        self._steps: dict[str, str] = {}
        self._state = "running"
        self._before = 0
        self.total: int | None = None
        self.resume_point = ""

    @property
    def ended(self) -> bool:
        """Whether the run has come to its end."""
        return self._state in ENDED

    @property
    def done(self) -> int:
        """How many steps ended well, over all runs of the flow."""
        return self._before + sum(state in ENDED_WELL for state in self._steps.values())

    @property
    def at_work(self) -> list[str]:
        """The steps and waits that have not ended."""
        return [step for step, state in self._steps.items() if state in AT_WORK]

    @property
    def state(self) -> str:
        """The run's state."""
        held = sorted({hold.state for hold in self._control.holds.values()})
        return ", ".join([self._state, *held, *(["paused"] if self._control.paused else [])])

    def restore(self, states: dict[str, str]) -> None:
        """Show what an earlier run of this flow showed."""
        self._steps = dict(states)
        self.show()

    def enter(self, resume_point: str, done: int) -> None:
        """Begin a leg of a long-running operation, whose earlier legs ended that many steps."""
        self.resume_point, self._before = resume_point, done

    def metadata(self) -> FlowMetadata:
        """Give the query ``metadata``: the flow's progress."""
        return FlowMetadata(
            flow=self._flow,
            state=self.state,
            steps_done=self.done,
            steps_total=self.total,
            current=tuple(self.at_work),
            resume_point=self.resume_point,
        )

    def set(self, step: str, state: str) -> None:
        """Show a step's state."""
        self.set_all([step], state)

    def set_all(self, steps: Iterable[str], state: str) -> None:
        """Show the same state of steps."""
        self._steps |= dict.fromkeys(steps, state)
        self.show()

    def shows(self, step: str) -> bool:
        """Whether a step has begun."""
        return step in self._steps

    def of(self, step: str) -> str | None:
        """Give the state that a step shows, if it shows one."""
        return self._steps.get(step)

    def put_back(self, step: str, state: str | None) -> None:
        """Show again what a step showed before."""
        if state is None:
            self.drop(step)
        else:
            self.set(step, state)

    def drop(self, step: str) -> None:
        """Take back a step that never was scheduled."""
        self._steps.pop(step, None)
        self.show()

    def move(self, state: str) -> None:
        """Show the run's state; an end is counted."""
        self._state = state
        if self.ended:
            count_flow(self._flow, state)
        self.show()

    def view(self) -> dict[str, Any]:
        """Give the query ``status``: the run's state, and each step's."""
        return {"flow": self._flow, "state": self.state, "steps": dict(self._steps)}

    def show(self) -> None:
        """Render it for the Temporal UI."""
        rows = list(islice(reversed(self._steps.items()), ROW_LIMIT))[::-1]
        lines = [f"**{self._flow}**: {self.state}", "", f"| step{_GAP} | state |", "|---|---|"]
        lines += [f"| {step}{_GAP} | {state} |" for step, state in rows]
        if len(self._steps) > ROW_LIMIT:
            lines.append(f"| … | {len(self._steps) - ROW_LIMIT} earlier steps |")
        workflow.set_current_details("\n".join(lines))


def still_held() -> bool:
    """Whether the memo says that something waits for an operator."""
    told = workflow.memo_value(MEMO, None)
    return isinstance(told, dict) and told.get("state") in ("held", "parked")


def leave_memo(state: str, reason: str, steps: list[str]) -> None:
    """Write the memo that ``describe`` and ``list`` show without a worker, at most 2 KB."""
    digest = {"state": state, "reason": _short(reason, 1024)}
    if steps:
        digest["not_undone"] = _short(", ".join(steps), MEMO_LIMIT - 1024 - 256)
    workflow.upsert_memo({MEMO: digest})


def drop_memo() -> None:
    """Take the memo away once nothing waits: a run that completes afterwards is a success like any other."""
    workflow.upsert_memo({MEMO: None})


def _short(text: str, limit: int) -> str:
    """Cut a text so that its JSON fits: a quote takes two bytes there, a control character six."""
    room = limit
    while size(short := cut(text, room)) > limit:
        room = room * 3 // 4
    return short

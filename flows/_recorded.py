"""A plan as a run has it: recorded text, whose steps are read one by one."""

from __future__ import annotations

from functools import lru_cache

import pydantic_core

from activities._json import Json
from flows._plan import STEP, Plan, PlanStep
from flows._template import missing, refs
from flows._undo import UndoSpec


class Recorded:
    """A recorded plan. It was checked when it was made, so nothing of it is checked again.

    Reading ten thousand steps at once takes longer than Temporal lets a workflow task compute: a step is read
    when it is asked for.

    Attributes:
        text: its JSON, as it was recorded.
        head: the plan without its steps.
        after: what each step comes after, in plan order.
    """

    def __init__(self, text: str) -> None:
        """Read what stands beside the steps, and their edges."""
        whole = pydantic_core.from_json(text)
        self._rows: dict[str, dict[str, Json]] = {row["name"]: row for row in whole["steps"]}
        self.text = text
        self.head = Plan.model_validate_json(pydantic_core.to_json({**whole, "steps": []}))
        self.after = {name: tuple(row.get("after", ())) for name, row in self._rows.items()}

    def __getitem__(self, name: str) -> PlanStep:
        """Read a step."""
        return STEP.validate_json(pydantic_core.to_json(self._rows[name]))

    def kind(self, name: str) -> str:
        """Give a step's kind."""
        return str(self._rows[name].get("kind", "operation"))

    def is_local(self, name: str) -> bool:
        """Whether a step runs as a local activity."""
        return bool(self._rows[name].get("local"))

    def constants(self) -> dict[str, Json]:
        """Give the values that have names."""
        return {name: row.get("value") for name, row in self._rows.items() if self.kind(name) == "constant"}

    def undo(self, name: str) -> tuple[str, UndoSpec]:
        """Give the operation of a step that has an undo, and how it is undone."""
        row = self._rows[name]
        return row["operation"], _undo(pydantic_core.to_json(row["undo"]))

    def result_of(self, name: str) -> str:
        """Name the step whose output is that of a step: a subsaga's is that of the one it names, if it does."""
        while self.kind(name) == "subsaga" and self._rows[name].get("result") is not None:
            name = self._rows[name]["result"]
        return name

    def lacks(self, name: str, output: tuple[Json, ...]) -> str | None:
        """Say what others refer to of a step's output that one lacks which is given instead: other steps, or the plan itself.

        Args:
            name: of the step.
            output: that is given, in a tuple of one; empty if none is.
        """
        if not output and self.head.result and self.result_of(self.head.result) == name:
            return "its output is the result: give one"
        for other, row in self._rows.items():
            for ref in refs(row.get("input")):
                if self.result_of(ref.step) != name:
                    continue
                if not output:
                    return f"step {other} refers to its output: give one"
                if missing(output[0], ref.path) is not None:
                    return f"step {other} refers to {'.'.join(map(str, ref.path))} of its output: give one that has it"
        return None

    def to_json(self) -> Json:
        """Give what was recorded."""
        return pydantic_core.from_json(self.text)


@lru_cache(1024)
def _undo(text: bytes) -> UndoSpec:
    """Read how steps of one operation are undone, once for all of them."""
    return UndoSpec.model_validate_json(text)

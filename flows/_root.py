"""Where a child flow belongs: the flow that all began with, told to each child in its memo."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities._wire import begun_in, from_depth
from counterstep.reports import ROOT


class Root(BaseModel):
    """The flow that a child flow is a part of.

    Attributes:
        workflow_id: of the root.
        origin: of the root.
        path: of the child's steps in it, such as ``nodes/``; ``leg=1@0/nodes/`` where a later leg of a long-running
            operation started it, since each leg gives names anew.
    """

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    origin: str
    path: str

    @classmethod
    def of_run(cls) -> Root | None:
        """Give this run's, if it is a child flow."""
        told: Any = workflow.memo_value(ROOT, default=None)
        return None if told is None else cls.model_validate(told)

    def header(self) -> dict[str, str]:
        """Give what makes the keys of its steps: they are those of steps in the root."""
        return {"workflow": self.workflow_id, "origin": self.origin, "path": self.path}

    def memo(self, name: str, leg: int) -> dict[str, Any]:
        """Give the memo of a child that is started in a leg."""
        return {ROOT: self.model_copy(update={"path": f"{begun_in(leg, self.path)}{name}/"}).model_dump()}

    def holds(self, step: str) -> bool:
        """Whether a step, by its path in the root, is the child's, in whichever of the child's own legs it began."""
        return from_depth(self.path.count("/"), step).startswith(self.path)

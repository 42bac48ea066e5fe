"""Where a child flow belongs: the flow that all began with, told to each child in its memo."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from counterstep.reports import ROOT


class Root(BaseModel):
    """The flow that a child flow is a part of.

    Attributes:
        workflow_id: of the root.
        origin: of the root.
        path: of the child's steps in it, such as ``nodes/``; in a later leg of a long-running operation, which
            gives names anew, ``leg=1/nodes/``.
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
        """Give the memo of a child that is started in a leg.

        No step is called ``leg=1``, and keys keep it: ``leg:1`` is a step's name in other legs, which no key contains.
        """
        path = f"{self.path}leg={leg}/" if leg else self.path
        return {ROOT: self.model_copy(update={"path": f"{path}{name}/"}).model_dump()}

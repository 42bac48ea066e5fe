"""What a flow does when something fails."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """What a flow does when something fails; defaults first.

    Attributes:
        on_failure: ``unwind`` runs the undos; ``keep`` leaves everything in place and fails.
        undo_failed_step: whether the failed step's own undo runs: only if its outcome is ``unknown``;
            ``always`` (seeds actions, automa); ``never`` (steno).
        on_undo_failure: ``continue`` with the other undos; ``stop`` there.
        settle: what happens to steps in flight when one fails: ``wait`` for their end, or ``cancel`` them.
        max_parallel: how many steps, or undos, run at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_failure: Literal["unwind", "keep"] = "unwind"
    undo_failed_step: Literal["unknown", "always", "never"] = "unknown"
    on_undo_failure: Literal["continue", "stop"] = "continue"
    settle: Literal["wait", "cancel"] = "wait"
    max_parallel: int = Field(default=64, ge=1, le=1000)

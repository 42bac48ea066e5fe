"""What a flow does when something fails."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Policy(BaseModel):
    """What a flow does when something fails; defaults first.

    Attributes:
        on_failure: ``unwind`` runs the undos; ``keep`` leaves everything in place and fails.
        undo_failed_step: whether the failed step's own undo runs: only if its outcome is ``unknown``;
            ``always`` (seeds actions, automa); ``never`` (steno).
        on_undo_failure: ``continue`` with the other undos; ``stop`` there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_failure: Literal["unwind", "keep"] = "unwind"
    undo_failed_step: Literal["unknown", "always", "never"] = "unknown"
    on_undo_failure: Literal["continue", "stop"] = "continue"

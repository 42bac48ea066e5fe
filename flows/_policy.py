"""What a flow does when something fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """What a flow does when something fails; defaults first.

    Attributes:
        on_failure: ``unwind`` runs the undos; ``hold`` waits for an operator; ``keep`` leaves everything in
            place and fails; ``continue``, of linear workflows, runs the steps after it too, then is like ``keep``.
        undo_failed_step: whether the failed step's own undo runs: only if its outcome is ``unknown``;
            ``always`` (seeds actions, automa); ``never`` (steno).
        on_undo_failure: ``continue`` with the other undos; ``stop`` there; ``park`` the undo for an operator.
        hold_timeout: how long a held step, or a parked undo, waits.
        then: what a hold becomes when its time is over; after the pivot always ``keep``. A parked undo ends
            as not undone.
        settle: what happens to steps in flight when one fails: ``wait`` for their end, or ``cancel`` them.
        max_parallel: how many steps, or undos, run at once.
        deadline: from the first start, also while paused: steps in flight are cancelled and the run unwinds;
            after the pivot it is held. A hold before the pivot ends with it.
        error: which failure is the cause of a ``Stuck``, or of a ``Kept`` after ``continue``: the ``first``, or the
            ``last`` (seed automa: that of the last undo that failed).
        allow_empty: whether a plan without steps runs, and completes, instead of being refused (seed automa).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_failure: Literal["unwind", "hold", "keep", "continue"] = "unwind"
    undo_failed_step: Literal["unknown", "always", "never"] = "unknown"
    on_undo_failure: Literal["continue", "stop", "park"] = "continue"
    hold_timeout: timedelta = Field(default=timedelta(days=7), gt=timedelta(0))
    then: Literal["unwind", "keep"] = "unwind"
    settle: Literal["wait", "cancel"] = "wait"
    max_parallel: int = Field(default=64, ge=1, le=1000)
    deadline: timedelta | None = Field(default=None, gt=timedelta(0))
    error: Literal["first", "last"] = "first"
    allow_empty: bool = False

    @classmethod
    def actions(cls, **changes: Any) -> Policy:
        """Give the way of seed actions: the failing job is undone too, whatever its outcome, and first.

        Args:
            changes: fields that differ from it; ``on_undo_failure="stop"`` is the seed's way as well.
        """
        return cls(**{"undo_failed_step": "always", **changes})

    @classmethod
    def automa(cls, **changes: Any) -> Policy:
        """Give the way of seed automa: the failing step's own undo first, the last error counts, no step is fine.

        Args:
            changes: fields that differ from it, such as ``error="first"``.
        """
        return cls(**{"undo_failed_step": "always", "error": "last", "allow_empty": True, **changes})

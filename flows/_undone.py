"""What the flow ``undo`` says and hands on: its names, its result, the work, and what is left to do."""

from __future__ import annotations

import pydantic_core
from pydantic import BaseModel, ConfigDict

from activities import Failure
from flows._packed import pack, unpack
from flows._policy import Policy
from flows._resume import Found, Owner, Taken
from flows._undo import NotUndone

UNDO = "undo"
"""The workflow type that is started with ``{"workflow_id", "run_id"}``."""

FIND_CLOSED = "counterstep-find-closed"
READ_LEFT = "counterstep-read-left"
AWAIT_UNDO = "counterstep-await-undo"


class Undone(BaseModel):
    """What became of a closed run.

    Attributes:
        workflow_id: of the run.
        run_id: of the run.
        undone: the steps that this ``undo`` undid.
        already_undone: those that had been undone before: by the run itself, or by another ``undo``.
        not_undone: those that are still in place; then the ``undo`` fails with ``Stuck``, which holds this.
        undone_by: workflow id of the other ``undo``, if it owns the run's undoing.
    """

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    run_id: str
    undone: tuple[str, ...] = ()
    already_undone: tuple[str, ...] = ()
    not_undone: tuple[NotUndone, ...] = ()
    undone_by: str | None = None


class Closed(BaseModel):
    """A closed run that may be undone.

    Attributes:
        found: its ids.
        previous: run id of an earlier ``undo`` of it that failed.
    """

    model_config = ConfigDict(frozen=True)

    found: Found
    previous: str | None = None


class Work(BaseModel):
    """What the child is to do.

    Attributes:
        owner: who asked.
        found: the run to undo.
        previous: run id of an earlier ``undo`` of it that failed.
        undone: steps that this run's chain has undone already, packed.
        failed: steps whose undo failed in this run's chain already.
        chain: the run id that the chain began with.
        paused: whether it goes on paused.
    """

    model_config = ConfigDict(frozen=True)

    owner: Owner
    found: Found
    previous: str | None = None
    undone: str = ""
    failed: tuple[NotUndone, ...] = ()
    chain: str | None = None
    paused: bool = False

    def undone_steps(self) -> tuple[str, ...]:
        """Give the steps that this run's chain has undone already."""
        return tuple(unpack(self.undone).split())


class Remains(BaseModel):
    """What is to be undone, as much of it as one run takes.

    Attributes:
        policy: of the flow, as far as it is known.
        after: what each step came after; newest first if it isn't given.
        steps: in the order in which they were scheduled.
        missing: steps that can't be undone here, and why.
        already: what others undid before.
        more: how many steps are left for the next run.
        cause: why the run had failed, if it had.
    """

    model_config = ConfigDict(frozen=True)

    policy: Policy = Policy()
    after: dict[str, tuple[str, ...]] | None = None
    steps: tuple[Taken, ...] = ()
    missing: tuple[NotUndone, ...] = ()
    already: tuple[str, ...] = ()
    more: int = 0
    cause: Failure | None = None

    def packed(self) -> str:
        """Write it for the record."""
        return pack(pydantic_core.to_json(self.model_dump(mode="json", exclude_defaults=True)).decode())

    @classmethod
    def unpacked(cls, text: str) -> Remains:
        """Read it back."""
        return cls.model_validate_json(unpack(text))

"""A step on its way from one run of a saga to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from activities import Failure, Status
from activities._json import Json
from activities._settled import Settled
from activities._wire import StepHeader, Verdict
from flows._undo import UndoRecord, UndoSpec

_STATUS = {status.value: status for status in Status}
_NOTHING = Verdict()


@dataclass(frozen=True)
class CarriedStep:
    """A step that may have to be undone.

    No pydantic model: a workflow task that reads and writes ten thousand of them has no time for it.

    Attributes:
        step: full name.
        input: the original input.
        header: that makes its idempotency key, without what a new run knows itself.
        status: how it ended.
        output: JSON, in a tuple of one.
        failure: how it failed.
        verdict: of its executions.
        undone: whether its undo has succeeded.
        undoing: how its undo failed.
        tried: whether that was in the unwinding that goes on.
        unplanned: its operation and how that is undone, where no plan tells.
    """

    step: str
    input: Json
    header: StepHeader
    status: Status
    output: tuple[Json, ...] = ()
    failure: Failure | None = None
    verdict: Verdict = _NOTHING
    undone: bool = False
    undoing: Failure | None = None
    tried: bool = False
    unplanned: tuple[str, UndoSpec] | None = None

    @classmethod
    def of(cls, record: UndoRecord, *, planned: bool) -> CarriedStep:
        """Take a record along; a plan tells how its steps are undone."""
        settled = record.settled or Settled(Status.UNKNOWN)
        failed = record.undoing is not None and not record.undone
        return cls(
            step=record.step,
            input=record.input,
            header=record.header,
            status=settled.status,
            output=settled.output,
            failure=settled.failure,
            verdict=settled.verdict,
            undone=record.undone,
            undoing=record.undoing.failure if record.undoing and failed else None,
            tried=record.tried,
            unplanned=None if planned else (record.definition, record.undo),
        )

    def to_json(self, origin: str) -> dict[str, Json]:
        """Write it: what differs from the defaults; of a step that is undone, only that it is.

        Args:
            origin: the run id in which the flow began; most steps have it in their header, and nothing else.
        """
        more: dict[str, Json] = {}
        if self.unplanned is not None:
            more["operation"], undo = self.unplanned
            more["undo"] = undo.model_dump(mode="json", exclude_defaults=True)
        if self.undone:
            return {"step": self.step, "undone": True, **more}
        more |= {"output": self.output, "verdict": self.verdict.to_json(), "tried": self.tried}
        own = self.header.origin or self.header.run
        if own == origin and self._plain:
            more["part"] = self.header.part
        else:
            more["header"] = self.header.model_dump(mode="json", exclude_defaults=True)
        failures = {"failure": self.failure, "undoing": self.undoing}
        more |= {name: f.model_dump(mode="json", exclude_defaults=True) for name, f in failures.items() if f}
        return {
            "step": self.step,
            "input": self.input,
            "status": self.status.value,
            **{name: value for name, value in more.items() if value},
        }

    @classmethod
    def from_json(cls, row: dict[str, Json], origin: str, trace: str | None = None) -> CarriedStep:
        """Read it back, as a step of a flow that is in a trace."""
        plain = _plain(origin, None, row.get("part", 0), trace)
        failures = {name: Failure.model_validate(row[name]) for name in ("failure", "undoing") if name in row}
        return cls(
            step=row["step"],
            input=row.get("input"),
            header=StepHeader.model_validate(row["header"]) if "header" in row else plain,
            status=_STATUS[row.get("status", "done")],
            output=tuple(row.get("output", ())),
            verdict=Verdict.from_json(row["verdict"]) if "verdict" in row else _NOTHING,
            undone=row.get("undone", False),
            tried=row.get("tried", False),
            unplanned=(row["operation"], UndoSpec.model_validate(row["undo"])) if "undo" in row else None,
            **failures,
        )

    @property
    def _plain(self) -> bool:
        """Whether its header says nothing but its flow's origin and trace, as most do."""
        header = self.header
        return header == _plain(header.run, header.origin, header.part, header.trace)

    def record(self, order: int, definition: str, undo: UndoSpec, run_id: str) -> UndoRecord:
        """Give the record back, to the run that has it now."""
        settled = Settled(self.status, self.verdict, self.output, error=error_of(self.failure))
        undoing = Settled(Status.FAILED, error=error_of(self.undoing)) if self.undoing else None
        origin = self.header.origin or self.header.run
        again = {"run": run_id, "origin": origin}
        old = self.header
        header = _plain(run_id, origin, old.part, old.trace) if self._plain else old.model_copy(update=again)
        return UndoRecord(
            order,
            self.step,
            definition,
            undo,
            self.input,
            header,
            settled,
            self.undone,
            undoing,
            self.tried,
        )


@lru_cache(256)
def _plain(run: str, origin: str | None, part: int, trace: str | None) -> StepHeader:
    """Make a header that says nothing but its flow's origin and trace."""
    return StepHeader(run=run, origin=origin, part=part, trace=trace)


def error_of(failure: Failure | None) -> BaseException | None:
    """Give a failure as an error with its causes."""
    return None if failure is None else failure.as_error()

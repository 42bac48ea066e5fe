"""What the failure of a stuck flow tells the flow that it is a part of, beside its message."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio.exceptions import ApplicationError

from activities._json import Json, size
from flows._errors import Stuck
from flows._undo import NotUndone

_LIMIT = 16 * 1024


class Told(BaseModel):
    """The first detail of a ``Stuck``.

    Attributes:
        not_undone: the steps that the message names, without their failures.
        kept: whether it undid nothing itself: a child flow of it is stuck.
    """

    model_config = ConfigDict(frozen=True)

    not_undone: tuple[NotUndone, ...]
    kept: bool = False

    @classmethod
    def by(cls, error: BaseException | None) -> Told | None:
        """Read it; ``None`` where a failure tells nothing: it is another one, was too large, or can't be read."""
        stuck = isinstance(error, ApplicationError) and error.type == Stuck.__name__ and error.details
        try:
            return cls.model_validate(stuck[0]) if stuck else None
        except ValidationError:
            return None

    def details(self) -> list[Json]:
        """Write it."""
        data = self.model_dump(mode="json", exclude={"not_undone": {"__all__": {"failure"}}})
        return [data] if size(data) <= _LIMIT else []

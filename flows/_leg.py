"""A leg of a long-running operation: what it is entered with. Pure values."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from activities._json import Json


class Leg(BaseModel):
    """A leg, as it is entered.

    Attributes:
        number: from 0; a part of idempotency keys.
        resume_point: where ``run`` is entered; empty in the first leg.
        request: the start input.
        state: as the leg before left it.
        metadata: the same.
        done: steps that ended well in the legs before.
    """

    model_config = ConfigDict(frozen=True)

    number: int = 0
    resume_point: str = ""
    request: Json = None
    state: Json = None
    metadata: Json = None
    done: int = 0

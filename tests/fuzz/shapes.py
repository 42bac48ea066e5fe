"""A flow whose input has what the examples' inputs lack: parts in parts, alternatives, names of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows import Sequence


class Place(BaseModel):
    """Where it goes."""

    model_config = ConfigDict(extra="forbid")

    street: str = Field(min_length=1, max_length=40)
    number: int | None = None


class Box(BaseModel):
    """What may be sent."""

    kind: Literal["box"]
    weight: float = Field(gt=0, le=30)


class Letter(BaseModel):
    """What may be sent, too."""

    kind: Literal["letter"]
    pages: list[Annotated[str, Field(pattern=r"^[a-z ]*$")]] = Field(min_length=1, max_length=3)


class Parcel(BaseModel):
    """A parcel; most of it may be left out."""

    items: list[Annotated[Box | Letter, Field(discriminator="kind")]]
    sender: Place | None = None
    receiver: Place = Place(street="Long Road")
    labels: dict[str, int] = {}
    priority: Literal["low", "high"] = "low"
    until: datetime | timedelta | None = Field(default=None, alias="notAfter")


class Send(Sequence[Parcel, int], id="send", version="1.0.0"):
    """Send a parcel, without a step."""

    async def run(self, input: Parcel) -> int:
        """Count what is in it."""
        return len(input.items)

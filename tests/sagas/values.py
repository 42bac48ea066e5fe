"""Types whose values look different in JSON; tests of templates and of fields use them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel, Field

from flows import Ref
from tests.sagas.operations import Given

SECOND = timedelta(seconds=1)
A_REF: Any = Ref("a")


class Colour(Enum):
    """A value that JSON knows by another name."""

    RED = "red"


class Aliased(BaseModel):
    """Read and written under another name."""

    size: int = Field(alias="theSize")


@dataclass(frozen=True)
class Place:
    """A dataclass with a model in it."""

    zone: str
    given: Given

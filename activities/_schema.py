"""Types as schemas: what may be declared, and values to JSON and back without losing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any, Generic, TypeVar, get_args

import pydantic_core
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from temporalio.exceptions import TemporalError

from activities._errors import DefinitionError, InvalidInput, NotSerializable
from activities._failure import describe
from activities._json import Json, finite
from activities._problems import problems

T = TypeVar("T")
_PYDANTIC_SAYS = ("Unable to serialize", "Circular reference", "Maximum serialization")


_BUILTIN = (int, float, str, bool, bytes, type(None), dict, list)
_builtin: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""Adapters of types that all sandboxes share; those of user types belong to the run that imported them."""


class Schema(Generic[T]):
    """A type whose values travel as JSON."""

    def __init__(self, type_: type[T] | Any) -> None:
        """Take the type; nothing is built before it is used."""
        self.type = type_

    @cached_property
    def adapter(self) -> TypeAdapter[T]:
        """Pydantic's view of the type."""
        return _builtin(self.type) if self.type in _BUILTIN else TypeAdapter[T](self.type)

    @property
    def core(self) -> Mapping[str, Any]:
        """Pydantic's core schema of the type."""
        return self.adapter.core_schema

    def dump(self, value: Any, what: str) -> Json:
        """Turn a value into JSON, making sure that it comes back equal.

        Args:
            value: an instance, or what pydantic turns into one: a dict, an object with the same attributes.
            what: names the value in errors.

        Raises:
            InvalidInput: when it doesn't fit the type.
            NotSerializable: when a round trip would change it.
        """
        typed = self.fit(value, what)
        try:
            dumped = self.adapter.dump_python(
                typed, mode="json", by_alias=True, round_trip=True, warnings=False
            )
            finite(dumped)
            back = self.adapter.validate_json(pydantic_core.to_json(dumped))
            changed = bool(back != typed)
        except Exception as error:
            raise _refused(error, NotSerializable(f"{what} doesn't survive JSON: {_why(error)}")) from None
        if changed:
            raise NotSerializable(f"{what} doesn't survive JSON: {self._changed(typed)}")
        return dumped

    def fit(self, value: Any, what: str) -> T:
        """Turn what pydantic turns into an instance into one; an instance stays itself.

        Raises:
            InvalidInput: naming the fields that don't fit, without values.
        """
        try:
            return self.adapter.validate_python(value, from_attributes=True)
        except Exception as error:
            raise self._unfit(error, what) from None

    def load(self, data: bytes, what: str) -> T:
        """Turn JSON into a value.

        Raises:
            InvalidInput: naming the fields that don't fit, without values.
        """
        try:
            return self.adapter.validate_json(data)
        except Exception as error:
            raise self._unfit(error, what) from None

    def load_value(self, value: Json, what: str) -> T:
        """Turn decoded JSON into a value, as :meth:`load` does."""
        return self.load(pydantic_core.to_json(value), what)

    @property
    def name(self) -> str:
        """The type's name, for messages."""
        return getattr(self.type, "__name__", str(self.type)) if not get_args(self.type) else str(self.type)

    def check(self, what: str) -> None:
        """Refuse a type that loses something in JSON, or whose values differ from run to run.

        Raises:
            NotSerializable: naming model and field.
            DefinitionError: when it names what isn't there yet.
        """
        try:
            self._must_be_whole()
            for problem in problems(self.type):
                raise NotSerializable(f"{what}: {problem}")
        except NameError as error:
            raise DefinitionError(
                f"{what}: {error}; define {self.name} and all that it names first"
            ) from None
        except PydanticUserError as error:
            raise NotSerializable(f"{what}: {str(error).splitlines()[0]}") from None

    def _must_be_whole(self) -> None:
        if not self.adapter.pydantic_complete and not self.adapter.rebuild(raise_errors=False):
            raise NameError("a name in it isn't known yet")

    def _unfit(self, error: Exception, what: str) -> Exception:
        return _refused(error, InvalidInput(f"{what} doesn't fit {self.name}: {_why(error)}"))

    def _changed(self, typed: T) -> str:
        """Say why a round trip changes a value: in an ``Any``, NaN and infinity become ``null``."""
        try:
            finite(self.adapter.dump_python(typed, round_trip=True, warnings=False))
        except NotSerializable as error:
            return error.message
        return "a round trip changes it; keep all of it in fields"


def _refused(error: Exception, refusal: Exception) -> Exception:
    """Give the refusal, unless Temporal's sandbox stopped the code: that is a bug, for new code to mend."""
    ours = isinstance(error, NotSerializable) or not isinstance(error, TemporalError)
    return refusal if ours else error


def _why(error: Exception) -> str:
    """Say why, holding no value: only pydantic's own words are trusted."""
    if isinstance(error, ValidationError):
        return describe(error)
    if isinstance(error, NotSerializable):
        return error.message
    text = str(error)
    return text if text.startswith(_PYDANTIC_SAYS) else type(error).__name__

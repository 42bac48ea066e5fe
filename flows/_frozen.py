"""JSON that can't be changed: what a finished plan holds."""

from __future__ import annotations

from typing import Any, NoReturn

from activities._json import Json


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("a finished plan is immutable; build another one")


_no: Any = _refuse


class FrozenDict(dict[str, Any]):
    """A dict of a finished plan."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _no

    def __deepcopy__(self, memo: object) -> FrozenDict:
        return self

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A list of a finished plan."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _no
    append = clear = extend = insert = pop = remove = reverse = sort = _no

    def __deepcopy__(self, memo: object) -> FrozenList:
        return self

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)


def frozen(value: Json) -> Json:
    """Give a JSON value that can't be changed."""
    if isinstance(value, dict):
        return FrozenDict((key, frozen(item)) for key, item in value.items())
    return FrozenList(map(frozen, value)) if isinstance(value, list) else value

"""Which steps of a plan may start: those that come after nothing that hasn't ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from heapq import heapify, heappop, heappush


class Ready:
    """The steps of a plan that are ready, in plan order; finding one takes no longer in a long plan."""

    def __init__(self, after: Mapping[str, Collection[str]], ended: Collection[str]) -> None:
        """Take the steps, in plan order, with those that each comes right after; and those that have ended already."""
        self._names = tuple(after)
        self._places = {name: place for place, name in enumerate(self._names)}
        self._followers: dict[str, list[str]] = {name: [] for name in self._names}
        self._missing = dict.fromkeys(self._names, 0)
        for name, earlier in after.items():
            for before in earlier:
                self._followers[before].append(name)
                self._missing[name] += before not in ended
        self._heap = [
            self._places[name] for name, count in self._missing.items() if not count and name not in ended
        ]
        heapify(self._heap)

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._heap)

    def __iter__(self) -> Iterator[str]:
        """Give them, in no order."""
        return (self._names[place] for place in self._heap)

    def take(self, wanted: Callable[[str], bool] | None = None) -> str | None:
        """Take the first one, or the first of those that are wanted; ``None`` if there is none."""
        if wanted is None:
            return self._names[heappop(self._heap)] if self._heap else None
        place = min((self._places[name] for name in self if wanted(name)), default=None)
        if place is None:
            return None
        self._heap.remove(place)
        heapify(self._heap)
        return self._names[place]

    def ended(self, name: str) -> None:
        """Take that a step has ended, so that others may be ready."""
        for follower in self._followers[name]:
            self._missing[follower] -= 1
            if not self._missing[follower]:
                heappush(self._heap, self._places[follower])

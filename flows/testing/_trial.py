"""One run under test: what it works on, what is to go wrong in it, and what was called."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from temporalio.client import Client

if TYPE_CHECKING:
    from flows.testing._faults import Fault


Effect = Callable[[], Awaitable[Any]]


class Place(NamedTuple):
    """A step, or its undo.

    Attributes:
        step: full name, with the path of inner flows.
        undo: whether its undo is meant.
    """

    step: str
    undo: bool = False

    def __str__(self) -> str:
        """Name it."""
        return f"undo of {self.step}" if self.undo else self.step


@dataclass
class Call:
    """One execution of a handler.

    Attributes:
        place: the step, or its undo.
        operation: ``id@version``.
        key: the idempotency key.
        attempt: its number.
        input: what it got.
        outcome: what an undo was told of its step, as a word.
        fault: name of what was injected.
        effects: how often the user's handler was called.
        output: what it returned.
        error: what it raised.
        limit: how many attempts it has; ``None`` without a limit.
        final: whether every error ends it at once.
        local: whether it is a local step.
        seconds: that it took.
    """

    place: Place
    operation: str
    key: str
    attempt: int
    input: Any
    outcome: str | None = None
    fault: str | None = None
    effects: int = 0
    output: Any = None
    error: BaseException | None = None
    limit: int | None = None
    final: bool = False
    local: bool = False
    seconds: float = 0.0


@dataclass
class Trial:
    """One run under test.

    Attributes:
        workflow_id: of the run.
        client: of its server.
        deps: what its operations work on.
        skips_time: whether its server skips time.
        refused: why a fault can't happen there.
        faults: what is still to go wrong, by place: the first for the next execution.
        injected: what was to go wrong.
        calls: every execution of a handler, in the order in which they began.
        happened: places whose handler has returned.
        held_back: by step, an effect that comes when the step is undone, and the context it comes from.
        over: set when the run has ended.
        replace: set when its worker is to be replaced.
    """

    workflow_id: str
    client: Client
    deps: Any = None
    skips_time: bool = False
    refused: str | None = None
    faults: dict[Place, list[Fault]] = field(default_factory=dict)
    injected: Mapping[Place, Sequence[Fault]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    happened: set[Place] = field(default_factory=set)
    held_back: dict[str, tuple[Effect, contextvars.Context]] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    replace: asyncio.Event = field(default_factory=asyncio.Event)

    def inject(self, faults: Mapping[Place, Sequence[Fault]]) -> None:
        """Set what is to go wrong."""
        self.injected = dict(faults)
        self.faults = {place: list(several) for place, several in faults.items()}

    def next(self, place: Place) -> Fault | None:
        """Take what goes wrong in the next execution of a place."""
        left = self.faults.get(place)
        if left:
            return left.pop(0)
        last = self.injected.get(place, ())[-1:]
        return last[0] if last and last[0].lasts else None

    def put_back(self, place: Place, fault: Fault) -> None:
        """Let something go wrong in the next execution of a place, since this one had no effect that it could follow."""
        self.faults[place].insert(0, fault)

    def hold_back(self, step: str, effect: Effect) -> None:
        """Let the effect of this execution of a step come when the step is undone."""
        self.held_back[step] = effect, contextvars.copy_context()

    async def undone(self, step: str) -> None:
        """Let an effect come that was held back until now; whether it fails is nobody's business any more."""
        if step in self.held_back:
            effect, context = self.held_back.pop(step)
            await asyncio.create_task(_alone(effect), context=context)

    @property
    def missed(self) -> list[Place]:
        """Where something was to go wrong, and not all of it did; a repeat that an error kept from happening isn't missed."""
        late = set(map(Place, self.held_back))
        return [p for p, left in self.faults.items() if p in late or (left and not self._beaten(p, left))]

    def _beaten(self, place: Place, left: Sequence[Fault]) -> bool:
        """Whether all that is left is repeats, behind an error that happened."""
        return all(fault.repeats for fault in left) and any(fault.fails for fault in self.injected[place])

    @property
    def steps(self) -> list[str]:
        """The steps that were called, in the order in which they began."""
        return list(dict.fromkeys(call.place.step for call in self.calls if not call.place.undo))

    async def cancel(self) -> None:
        """Cancel the run."""
        await self.client.get_workflow_handle(self.workflow_id).cancel()

    async def ask_replace(self) -> None:
        """Have its worker replaced."""
        self.replace.set()


async def _alone(effect: Effect) -> None:
    with contextlib.suppress(BaseException):  # also a ``SystemExit``, which would end more than a task
        await effect()

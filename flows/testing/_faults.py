"""What goes wrong: values that say how one execution of a step, or of its undo, goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast, get_args

from temporalio import activity

from activities import DefinitionError, OutcomeUnknown, Unrecoverable
from flows.testing._trial import Effect, Trial

HANGS = "the time-skipping server hangs when a cancel meets a result"
When = Literal["before", "in", "after"]
_SHORT = timedelta(seconds=1)
_TOLD = timedelta(seconds=1.5)
"""Heartbeat timeout of a step that is to learn of a cancel: by the answer to its next heartbeat."""


@dataclass(frozen=True)
class Fault:
    """How one execution goes.

    Attributes:
        name: one or two words.
        act: does it; gets what calls the handler, and the run.
        start_to_close: shortens the timeout of the step, so that a test needn't wait for it.
        heartbeat: shortens its heartbeat timeout.
        silent: whether the execution is lost: what it returned never arrives.
        lasts: whether later executions go so as well, should there be any.
        fails: whether it is an error.
        repeats: whether it is a repeat, which gives way to an error at the same place.
    """

    name: str
    act: Callable[[Effect, Trial], Awaitable[Any]]
    start_to_close: timedelta | None = None
    heartbeat: timedelta | None = None
    silent: bool = False
    lasts: bool = False
    fails: bool = False
    repeats: bool = False


def error_first(faults: Sequence[Fault]) -> list[Fault]:
    """Put repeats behind the rest where there is an error: an injected error wins over an injected repeat (steno)."""
    return sorted(faults, key=lambda fault: fault.repeats) if has_error(faults) else list(faults)


def has_error(faults: Sequence[Fault]) -> bool:
    """Whether one of them is an error."""
    return any(fault.fails for fault in faults)


def _refuse_unless(right: bool, fault: str, wanted: str, given: object) -> None:
    if not right:
        raise DefinitionError(f"{fault} takes {wanted}, not {given!r}")


def _lasting(fault: str, given: Any) -> timedelta:
    """Give a time that something can be shortened to, or wait for.

    Raises:
        DefinitionError: when it is none, or nothing.
    """
    right = isinstance(given, timedelta) and given > timedelta(0)
    _refuse_unless(right, fault, "a timedelta longer than nothing", given)
    return cast(timedelta, given)


def error(
    error: BaseException | None = None, *, after: bool = False, unknown: bool = False, retryable: bool = False
) -> Fault:
    """Let the handler fail.

    Args:
        error: what it raises instead of an error of ours; the cause of that where the outcome is unknown.
        after: after its effect, saying that its outcome is unknown: an error without a word means "no effect".
        unknown: before its effect, but saying that its outcome is unknown.
        retryable: whether another attempt may follow.

    Raises:
        DefinitionError: when ``error`` is no exception.
    """
    right = error is None or isinstance(error, BaseException)
    _refuse_unless(right, "error", "an exception, such as ValueError('down')", error)
    when, unknown = "after" if after else "before", unknown and not after
    raised = error or _error(f"injected, {when} the effect", retryable)

    async def act(effect: Effect, trial: Trial) -> Any:
        if after:
            await effect()
        if (after or unknown) and not isinstance(raised, OutcomeUnknown):
            raise OutcomeUnknown(f"injected, {when} the effect") from raised
        raise raised

    return Fault("unknown before" if unknown else f"error {when}", act, fails=True)


class Injected(Exception):
    """An error that may be tried again: of a class that no policy names as one that ends it at once."""


def tried_again(final: Collection[str]) -> bool:
    """Whether that error is tried again where errors of some classes, given by name, never are."""
    return not any(kind.__name__ in final for kind in Injected.__mro__)


def _error(text: str, retryable: bool) -> BaseException:
    return Injected(text) if retryable else Unrecoverable(text)


async def _interrupted(trial: Trial) -> None:
    """Go on until a timeout, a cancel or the end of the worker interrupts it, or the run is over."""
    await trial.over.wait()
    raise asyncio.CancelledError("injected: the run went on without it")


def timeout(after: timedelta = _SHORT) -> Fault:
    """Let it take effect, and then take longer than its timeout.

    Args:
        after: its timeout, instead of its own.

    Raises:
        DefinitionError: when that is no time.
    """
    after = _lasting("timeout", after)

    async def act(effect: Effect, trial: Trial) -> Any:
        await effect()
        await _interrupted(trial)

    return Fault("timeout", act, start_to_close=after)


def late(step: str, after: timedelta = _SHORT) -> Fault:
    """Hold it back until its step is undone: it times out, nothing ends it, and then it takes effect.

    Args:
        step: full name.
        after: its timeout, instead of its own.
    """

    async def act(effect: Effect, trial: Trial) -> Any:
        trial.hold_back(step, effect)
        await _interrupted(trial)

    return Fault("late", act, start_to_close=after)


def cancel(when: When = "in") -> Fault:
    """Cancel the run.

    Args:
        when: ``before`` the step takes effect, which it then doesn't; ``in`` it: it took effect, and is interrupted;
            ``after``: the cancel arrives together with the result. Undos and local steps aren't interrupted. On a
            time-skipping server a cancel can't meet the result of a step: ``after`` is refused there, and any of a local
            step; one that meets the result of another step hangs there, so beside others take a dev server.

    Raises:
        DefinitionError: when ``when`` is another word.
    """
    _refuse_unless(when in get_args(When), "cancel", "'before', 'in' or 'after'", when)

    async def act(effect: Effect, trial: Trial) -> Any:
        undo = activity.info().activity_type.endswith("/undo")
        if trial.skips_time and not undo and (when == "after" or activity.info().is_local):
            trial.refused = f"{HANGS}: run this test on a dev server, with --temporal=dev"
            raise Unrecoverable(trial.refused)
        if undo or activity.info().is_local:
            return await _beside(effect, trial.cancel, when)
        output = None if when == "before" else await effect()
        await trial.cancel()
        if when != "after":
            await _interrupted(trial)
        return output

    return Fault(f"cancel {when}", act, heartbeat=_TOLD)


async def _beside(effect: Effect, ask: Callable[[], Awaitable[None]], when: When) -> Any:
    """Ask for something without waiting to be interrupted by it."""
    if when == "before":
        await ask()
        return await effect()
    if when == "in":
        return (await asyncio.gather(effect(), ask()))[0]
    output = await effect()
    await ask()
    return output


def crash(after: timedelta = _SHORT) -> Fault:
    """Let it take effect, and lose the execution: no result, no heartbeat, as when its machine burns down.

    Args:
        after: its heartbeat timeout, instead of 30 seconds.

    Raises:
        DefinitionError: when that is no time.
    """
    after = _lasting("crash", after)

    async def act(effect: Effect, trial: Trial) -> Any:
        return await effect()

    return Fault("crash", act, heartbeat=after, silent=True)


def repeat(n: int = 2) -> Fault:
    """Call the handler several times with the same key, as at-least-once execution may; the last one counts.

    An error injected at the same place wins: it goes first, and no repeat follows one that ends the step.

    Raises:
        DefinitionError: when that is less than twice.
    """
    given: Any = n
    _refuse_unless(isinstance(given, int) and n > 1, "repeat", "a number of calls from 2 on", n)

    async def act(effect: Effect, trial: Trial) -> Any:
        for _ in range(n - 1):
            await effect()
        return await effect()

    return Fault(f"repeat {n}", act, repeats=True)


def slow(by: timedelta = _SHORT) -> Fault:
    """Let it begin late.

    Raises:
        DefinitionError: when it is no time by which.
    """
    _refuse_unless(isinstance(by, timedelta), "slow", "a timedelta", by)

    async def act(effect: Effect, trial: Trial) -> Any:
        await asyncio.sleep(by.total_seconds())
        return await effect()

    return Fault("slow", act)


def together(barrier: asyncio.Barrier) -> Fault:
    """Let it fail at the same moment as others that wait at the barrier."""

    async def act(effect: Effect, trial: Trial) -> Any:
        async with asyncio.timeout(30):
            await barrier.wait()
        raise Unrecoverable("injected, together with others")

    return Fault("siblings", act)


def restart(when: When) -> Fault:
    """Have the worker replaced by another one: ``before`` its effect, ``in`` it, or as it ends.

    A worker that is stopped waits for its local steps, so those aren't interrupted; :func:`crash` loses them.
    """

    async def act(effect: Effect, trial: Trial) -> Any:
        if activity.info().is_local:
            return await _beside(effect, trial.ask_replace, when)
        output = None if when == "before" else await effect()
        await trial.ask_replace()
        if when != "after":
            await _interrupted(trial)
        return output

    return Fault(f"restart {when}", act)

"""Looking whether operations have ended, as the worker does it; ``flows._waiting`` is the workflow's side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast

from google.protobuf.message import Message
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import (
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    TerminatedError,
    TimeoutError,
)
from temporalio.service import RPCError, RPCStatusCode

from activities import DefinitionError, OperationNotFound
from activities._call import call
from activities._failure import message_of, on_wire
from activities._run import Host
from flows._errors import WaitDeadlineExceeded
from flows._operation_name import workflow_id_of
from flows._waiting import WAIT, Awaited
from flows._watches import Watches

_RARE = timedelta(seconds=30)
"""Between two looks at our own operations, which tell of their end by themselves unless a worker was lost."""

_AT_ONCE = 16
_CLOSED = frozenset(
    {
        WorkflowExecutionStatus.COMPLETED,
        WorkflowExecutionStatus.FAILED,
        WorkflowExecutionStatus.CANCELED,
        WorkflowExecutionStatus.TERMINATED,
        WorkflowExecutionStatus.TIMED_OUT,
    }
)
_KNOWN = frozenset(map(int, RPCStatusCode))
_ENDS: dict[type[BaseException], str] = {
    CancelledError: "CANCELLED",
    TerminatedError: "ABORTED",
    TimeoutError: "DEADLINE_EXCEEDED",
}


class OperationsService(Protocol):
    """Whatever knows foreign operations, such as a client of ``google.longrunning`` (seed lro: ``OperationsService``)."""

    def get_operation(self, name: str, /) -> Any:
        """Give an operation by its name; may be ``async def``.

        Returns:
            An object, or a mapping, with ``done`` and ``error``: a protobuf ``Operation``, its JSON, or one's own.

        Raises:
            Exception: with a ``code`` of NOT_FOUND, or :class:`activities.OperationNotFound`, when there is none.
        """
        ...


@dataclass(frozen=True)
class Look:
    """What a look at an operation saw.

    Attributes:
        ended: whether it has ended.
        missing: whether there is no such operation.
        error: that it ended with.
        failed: why the look itself failed.
    """

    ended: bool = False
    missing: bool = False
    error: ApplicationError | None = None
    failed: str = ""


class WaitServices:
    """The activity that looks, and the watches on our own operations."""

    def __init__(self, host: Callable[[], Host]) -> None:
        """Take what gives the worker's dependencies."""
        self._host = host
        self._watches = Watches()

    def activities(self) -> list[Callable[..., Any]]:
        """Give it for a worker."""
        return [self.wait]

    def close(self) -> None:
        """End all watches; other workers look after what they watched."""
        self._watches.close()

    @activity.defn(name=WAIT)
    async def wait(self, awaited: Awaited) -> None:
        """Look once.

        Raises:
            ApplicationError: when something is still open, to be called again.
            WaitDeadlineExceeded: when that is no longer wanted.
            OperationNotFound: when an operation isn't there, and all others have ended.
        """
        info = activity.info()
        known: list[str] = list(info.heartbeat_details[0]) if info.heartbeat_details else []
        looks = dict.fromkeys(known, Look(ended=True))
        looks |= await self._looks(awaited, [name for name in awaited.operations if name not in looks])
        open_ = [name for name, look in looks.items() if not (look.ended or look.missing)]
        if not open_:
            return _settle(looks, awaited)
        elapsed = awaited.elapsed + (info.started_time - info.scheduled_time)
        if elapsed >= awaited.timeout:
            raise _late(awaited, open_, looks)
        activity.heartbeat(
            [n for n, look in looks.items() if look.ended and not (awaited.raise_errors and look.error)]
        )
        delay = awaited.poll if awaited.service else _rare(awaited, info.attempt, elapsed)
        if awaited.service is None:
            self._watches.keep(activity.client(), str(info.workflow_id), awaited.token, open_, delay)
        raise _open(open_, delay)

    async def _looks(self, awaited: Awaited, names: list[str]) -> dict[str, Look]:
        room = asyncio.Semaphore(_AT_ONCE)
        service = None if awaited.service is None else _service(self._host().deps, awaited.service)

        async def look(name: str) -> Look:
            async with room:
                if service is None:
                    return await _own(activity.client(), name, errors=awaited.raise_errors)
                return await self._foreign(service, name)

        return dict(zip(names, await asyncio.gather(*map(look, names)), strict=True))

    async def _foreign(self, service: OperationsService, name: str) -> Look:
        called = await call(self._host().executor, service.get_operation, name)
        if called.error is None:
            return _seen(name, called.value)
        if isinstance(called.error, asyncio.CancelledError):
            raise called.error
        missing = isinstance(called.error, OperationNotFound) or _code(called.error) == "NOT_FOUND"
        return Look(missing=missing, failed=f"{type(called.error).__name__}: {message_of(called.error)}")


def _open(names: list[str], delay: timedelta) -> ApplicationError:
    """Ask for another look: nothing that failed, so nothing for logs and metrics of failures."""
    said, benign = f"still open: {', '.join(names)}", ApplicationErrorCategory.BENIGN
    return ApplicationError(said, type="StillOpen", next_retry_delay=delay, category=benign)


def _settle(looks: dict[str, Look], awaited: Awaited) -> None:
    missing = [name for name, look in looks.items() if look.missing]
    if missing:
        raise OperationNotFound(f"{', '.join(missing)} {'does' if len(missing) == 1 else 'do'} not exist")
    failed = next((look.error for look in looks.values() if look.error), None)
    if failed is not None and awaited.raise_errors:
        raise failed


def _late(awaited: Awaited, open_: list[str], looks: dict[str, Look]) -> WaitDeadlineExceeded:
    seconds = awaited.timeout.total_seconds()
    what = f"{', '.join(open_)} {'was' if len(open_) == 1 else 'were'} not done within {seconds:g} seconds"
    failed = next((looks[name].failed for name in open_ if looks[name].failed), "")
    return WaitDeadlineExceeded(
        f"{what}; the last look failed: {failed}" if failed else what,
        {"operations": open_, "seconds": seconds},
    )


def _rare(awaited: Awaited, attempt: int, elapsed: timedelta) -> timedelta:
    """Say when our own are looked at again: soon at first, then rarely; not later than the deadline."""
    grown: timedelta = awaited.poll * 2 ** min(attempt - 1, 20)
    return min(grown, max(_RARE, awaited.poll), awaited.timeout - elapsed)


def _service(deps: Any, name: str) -> OperationsService:
    """Find a dependency: by its type's name or its key, or as an attribute of the one object that is all of them.

    Raises:
        DefinitionError: when there is none with ``get_operation``.
    """
    if isinstance(deps, Mapping):
        named = {_named(key): value for key, value in deps.items()}
        found = named.get(name) or next(
            (v for v in deps.values() if name in map(_named, type(v).__mro__)), None
        )
    else:
        found = getattr(deps, name, None) if name.isidentifier() else deps
    if not hasattr(found, "get_operation"):
        raise DefinitionError(
            f"wait: the dependencies hold no {name} with get_operation; let lifespan yield it"
        )
    return cast(OperationsService, found)


def _named(key: Any) -> str:
    return f"{key.__module__}.{key.__qualname__}" if isinstance(key, type) else str(key)


def _seen(name: str, found: Any) -> Look:
    done, error = _part(found, "done"), _part(found, "error")
    code, message = _part(error, "code") or 0, str(_part(error, "message") or "")
    ended = bool(done() if callable(done) else done)
    if not ended or not (code or message):
        return Look(ended=ended)
    kind = RPCStatusCode(code).name if code in _KNOWN else "UNKNOWN"
    details = [error] if isinstance(error, Message) else []
    return Look(ended, error=on_wire(_error(name, message, *details, kind=kind), final=True))


def _part(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)


def _code(error: BaseException) -> str:
    """Give the name of an error's code: of grpc, of Google's clients, or of HTTP."""
    code = getattr(error, "code", None)
    with suppress(Exception):
        code = code() if callable(code) else code
    return "NOT_FOUND" if code in (404, "404", "NOT_FOUND") else str(getattr(code, "name", code))


async def _own(client: Client, name: str, *, errors: bool) -> Look:
    """Look at a flow of ours; its error only if it is wanted."""
    handle = client.get_workflow_handle(workflow_id_of(name) or "")
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            return Look(missing=True)
        return Look(failed=f"{error.status.name}: {error.message}")
    if described.status not in _CLOSED:
        return Look()
    if not errors or described.status is WorkflowExecutionStatus.COMPLETED:
        return Look(ended=True)
    try:
        await client.get_workflow_handle(handle.id, run_id=described.run_id).result()
    except WorkflowFailureError as error:
        return Look(ended=True, error=on_wire(_failure(name, error.cause), final=True))
    return Look(ended=True)


def _failure(name: str, cause: BaseException) -> ApplicationError:
    if not isinstance(cause, ApplicationError):
        return _error(name, message_of(cause), kind=_ENDS.get(type(cause), "UNKNOWN"))
    error = _error(name, cause.message, *cause.details, kind=cause.type or "UNKNOWN")
    error.__cause__ = cause.__cause__
    return error


def _error(name: str, message: str, *details: Any, kind: str) -> ApplicationError:
    return ApplicationError(f"{name} ended with an error: {message}", *details, type=kind, non_retryable=True)

"""Waiting for operations, as the workflow sees it: one activity that looks, is tried again, and costs no events meanwhile.

Foreign operations are polled: the activity raises with the delay of the next look. Of our own ones a worker is told by
Temporal when they end, and signals the flow that waits, which then looks at once; a rare look remains, for when that worker
is lost. ``flows._wait_services`` has the other side.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError
from temporalio.workflow import ActivityCancellationType

from activities import CounterstepError, DefinitionError, InvalidInput, OperationNotFound
from flows._errors import WaitDeadlineExceeded
from flows._operation_name import workflow_id_of
from flows._scope import Scope
from flows._step import wait_for

WAIT = "counterstep-wait"
"""Activity that looks whether operations have ended."""

TOLD = "counterstep-ended"
"""Signal that tells a flow that the operations it waits for have ended."""

_LOOK = timedelta(minutes=1)
_ZERO = timedelta(0)
_OURS: dict[str, type[CounterstepError]] = {
    kind.__name__: kind for kind in (WaitDeadlineExceeded, OperationNotFound, DefinitionError, InvalidInput)
}


class Awaited(BaseModel):
    """What is waited for.

    Attributes:
        operations: names, each once.
        service: names the dependency that knows foreign ones; ``None`` for our own.
        poll: between two looks at foreign ones.
        timeout: from the beginning of the wait.
        elapsed: since then, when the activity was scheduled.
        raise_errors: whether an operation that ended with an error fails the wait.
        token: names the wait, for who tells of its end.
    """

    model_config = ConfigDict(frozen=True)

    operations: tuple[str, ...]
    service: str | None = None
    poll: timedelta
    timeout: timedelta
    elapsed: timedelta = _ZERO
    raise_errors: bool = False
    token: str = ""

    def check(self, sleep: timedelta | None) -> None:
        """Refuse what can't be waited for.

        Raises:
            DefinitionError: naming the argument.
        """
        if self.poll <= _ZERO:
            raise DefinitionError(f"wait: poll must be longer than nothing, not {self.poll}")
        if sleep is not None and sleep < _ZERO:
            raise DefinitionError(f"wait: sleep must not be negative, as {sleep} is")
        if self.timeout < _ZERO:
            raise DefinitionError(f"wait: timeout must not be negative, as {self.timeout} is")
        own = [] if self.service else [(name, workflow_id_of(name)) for name in self.operations]
        for name, id in own:
            if id is None:
                raise DefinitionError(
                    f"wait: {name!r} names no operation of ours; write operations/ID, or give a service"
                )
            if id == workflow.info().workflow_id:
                raise DefinitionError(f"wait: {name} is the operation that would wait for itself")


class Told:
    """The waits of a run, and whether they were told that what they wait for has ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting: dict[str, asyncio.Event] = {}

    def tell(self, token: str) -> None:
        """Take note; a wait that is over already isn't there any more."""
        if token in self._waiting:
            self._waiting[token].set()

    async def wait(self, at: Scope, awaited: Awaited, began: datetime, name: str) -> None:
        """Wait until operations have ended, and show it.

        Raises:
            WaitDeadlineExceeded: when they haven't in time.
            OperationNotFound: when one isn't there, once the others have ended.
            ApplicationError: the error of an operation, if it is to be raised.
        """
        shown, board = at.run.names.give(at.path, name), at.run.board
        token = f"{at.run.leg}:{shown}"
        told = self._waiting[token] = asyncio.Event()
        board.set(shown, "waiting")
        try:
            await at.run.guard.check()
            while not await _looked(awaited.model_copy(update={"token": token}), began, shown, told):
                told.clear()
        except (Exception, asyncio.CancelledError):
            board.set(shown, "interrupted")
            raise
        finally:
            del self._waiting[token]
        board.set(shown, "done")


async def _looked(awaited: Awaited, began: datetime, name: str, told: asyncio.Event) -> bool:
    """Look until the end; ``False`` when it was told meanwhile, and should look anew."""
    now = awaited.model_copy(update={"elapsed": workflow.now() - began})
    looking: asyncio.Task[Any] = workflow.start_activity(
        WAIT,
        now,
        activity_id=name,
        start_to_close_timeout=_LOOK,
        retry_policy=RetryPolicy(backoff_coefficient=1),  # after a lost look; else the activity says when
        summary=f"wait for {', '.join(awaited.operations)}"[:200],
        # A look that is executing ends by itself, and soon; another one can't begin under its id before.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    hearing = asyncio.create_task(told.wait())
    try:
        await workflow.wait([looking, hearing], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        looking.cancel()
        raise
    finally:
        hearing.cancel()
    if not looking.done():
        looking.cancel()
        if await wait_for([looking]):
            raise asyncio.CancelledError(f"cancelled in {name}")
    return _ended(looking)


def _ended(looking: asyncio.Task[Any]) -> bool:
    """Say whether a look came to an end of the wait; one that was broken off didn't."""
    error = asyncio.CancelledError() if looking.cancelled() else looking.exception()
    if error is None:
        return True
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, (CancelledError, asyncio.CancelledError)):
        return False
    if isinstance(cause, ApplicationError):
        kind = _OURS.get(cause.type or "")
        raise (kind(cause.message, *cause.details) if kind else cause) from None
    raise error

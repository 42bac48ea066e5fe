"""The legs of a long-running operation: running one, and ending it at a resume point."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any, NoReturn

from temporalio import workflow

from activities import DefinitionError
from activities._schema import Schema
from flows._full import Full
from flows._leg import Leg
from flows._names import check_name
from flows._status import Board
from flows._step import wait_for
from flows._waiting import Told

_IN_BODY: ContextVar[bool] = ContextVar("counterstep_in_body", default=False)


class Legs:
    """The leg that a run is, and the one that follows it.

    Attributes:
        leg: as it was entered.
        state: as it is now.
        metadata: as it is now.
        next: the leg that follows, once this one has ended.
        told: the waits for operations, and what they were told.
    """

    def __init__(self, leg: Leg, state: Schema[Any], metadata: Schema[Any], who: str) -> None:
        """Enter a leg; the first one has default state and metadata.

        Raises:
            InvalidInput: when what the leg before left doesn't fit the types.
        """
        self.leg = leg
        self.state = state.load_value(leg.state, f"{who}: state") if leg.number else state.type()
        self.metadata = (
            metadata.load_value(leg.metadata, f"{who}: metadata") if leg.number else metadata.type()
        )
        self.next: Leg | None = None
        self.told = Told()
        self._who = who
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, body: Awaitable[Any]) -> Any:
        """Run the author's body until it ends, or the leg does.

        Raises:
            Full: when the leg has ended, and the run goes on as new.
        """
        running = asyncio.create_task(_in_body(body))
        try:
            await workflow.wait([running, self._left], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.next = None
            running.cancel()
            await wait_for([running])
        if self.next is not None and not running.done():
            raise Full
        return running.result()

    def may_end(self, board: Board, resume_point: str) -> None:
        """Make sure that a leg can end here.

        Raises:
            DefinitionError: when the point is no name, something else is at work, or this isn't the body.
        """
        check_name("resume point", resume_point)
        if not _IN_BODY.get():
            raise DefinitionError(f"resume point {resume_point!r}: only run() may end a leg, no handler")
        if board.at_work:
            raise DefinitionError(
                f"resume point {resume_point!r}: {', '.join(board.at_work)} is at work beside it; let it end first"
            )

    async def end(
        self, board: Board, state: Schema[Any], metadata: Schema[Any], resume_point: str
    ) -> NoReturn:
        """End the leg, once handlers have ended what they began; the author's code never goes on.

        Raises:
            InvalidInput, NotSerializable: when the state doesn't fit its type, or JSON.
        """
        await workflow.wait_condition(lambda: not board.at_work and workflow.all_handlers_finished())
        self.next = Leg(
            number=self.leg.number + 1,
            resume_point=resume_point,
            request=self.leg.request,
            state=state.dump(self.state, f"{self._who}: state"),
            metadata=metadata.dump(self.metadata, f"{self._who}: metadata"),
            done=board.done,
        )
        self._left.set_result(None)
        await asyncio.get_running_loop().create_future()
        raise AssertionError("a leg that has ended never goes on")


async def _in_body(body: Awaitable[Any]) -> Any:
    _IN_BODY.set(True)
    return await body

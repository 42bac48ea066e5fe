r"""The smallest example: a seat is taken, a card is charged, and both are undone when the card is refused.

    DESK=/tmp/desk python worker.py --dev --module examples.quickstart
    temporal workflow execute --type book-seat@1.0.0 --task-queue counterstep --workflow-id seat-12a \
        --input '{"seat": "12A", "card": "4242"}'

A card whose number ends in 0 is refused. All there is lies in one folder, so any number of workers that share
it can take part.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from activities import Context, Outcome, Unrecoverable, operation
from flows import Sequence


@dataclass(frozen=True)
class Desk:
    """The ticket desk: a folder with a file for each seat taken and each charge made."""

    root: Path

    def write(self, name: str, owner: str) -> bool:
        """Write a record unless there is one; whether it is the owner's now."""
        try:
            with (self.root / name).open("x") as file:
                file.write(owner)
        except FileExistsError:
            return (self.root / name).read_text() == owner
        return True

    def remove(self, name: str, owner: str) -> None:
        """Remove a record, if there is one and it is the owner's."""
        file = self.root / name
        if file.exists() and file.read_text() == owner:
            file.unlink()


class Booking(BaseModel):
    """Which seat to book, and the card that pays for it."""

    seat: str
    card: str


class TakeSeat(BaseModel):
    """Which seat to take."""

    seat: str


class ChargeCard(BaseModel):
    """Which card to charge."""

    card: str


class Ticket(BaseModel):
    """A seat that was booked."""

    seat: str


@operation(id="take-seat", version="1.0.0")
def take_seat(ctx: Context[Desk], input: TakeSeat) -> Ticket:
    """Take a seat."""
    if not ctx.deps.write(f"seat-{input.seat}", ctx.idempotency_key):
        raise Unrecoverable(f"seat {input.seat} is taken")
    return Ticket(seat=input.seat)


@take_seat.undo
def free_seat(ctx: Context[Desk], input: TakeSeat, outcome: Outcome[Ticket]) -> None:
    """Give the seat back."""
    ctx.deps.remove(f"seat-{input.seat}", ctx.idempotency_key)


@operation(id="charge-card", version="1.0.0")
def charge_card(ctx: Context[Desk], input: ChargeCard) -> str:
    """Charge the card, and give the charge's name."""
    if input.card.endswith("0"):
        raise Unrecoverable("the card is refused")
    charge = f"charge-{ctx.idempotency_key[:16]}"
    ctx.deps.write(charge, ctx.idempotency_key)
    return charge


@charge_card.undo
def refund(ctx: Context[Desk], input: ChargeCard, outcome: Outcome[str]) -> None:
    """Take the charge back."""
    ctx.deps.remove(f"charge-{ctx.idempotency_key[:16]}", ctx.idempotency_key)


class BookSeat(Sequence[Booking, Ticket], id="book-seat", version="1.0.0"):
    """Book one seat."""

    async def run(self, input: Booking) -> Ticket:
        """Take the seat, then charge the card; the seat is given back when the card is refused."""
        ticket = await self.execute(take_seat, TakeSeat(seat=input.seat))
        await self.execute(charge_card, ChargeCard(card=input.card))
        return ticket.output


@asynccontextmanager
async def lifespan() -> AsyncIterator[Desk]:
    """The desk in the folder that the environment variable `DESK` names; it is made when it isn't there.

    Raises:
        RuntimeError: `DESK` isn't set.
    """
    root = os.environ.get("DESK")
    if not root:
        raise RuntimeError("DESK isn't set: name the folder of the ticket desk")
    Path(root).mkdir(parents=True, exist_ok=True)
    yield Desk(Path(root))

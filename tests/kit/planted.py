"""A shop, a saga of a few steps, and the mistakes that one of them can have, each beside its corrected version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from activities import Context, EmptyInput, Operation, Outcome, Unrecoverable, operation
from flows import Dag, OperationFailed, Policy, Saga, Sequence, no_undo, saga
from tests.sample import FAST


@dataclass
class Shop:
    """What is sold, by key, and what isn't keyed. Somebody else's seat is there before."""

    sold: dict[str, str] = field(default_factory=lambda: {"ann": "ann's seat"})
    money: int = 100
    price: int = 3
    refunded: set[str] = field(default_factory=set)
    charged: set[str] = field(default_factory=set)
    last: str = ""


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    """A shop that nobody has been to yet."""
    yield Shop()


def look(shop: Shop) -> Any:
    """What is there, without keys."""
    return {"sold": sorted(shop.sold.values()), "money": shop.money, "price": shop.price}


Do = Callable[[Shop, Context[Shop]], None]
Undo = Callable[[Shop, Context[Shop], Outcome[None]], None]


def made(name: str, do: Do, undo: Undo | None) -> Operation[EmptyInput, None]:
    """Make an operation, with its undo if it has one."""

    @operation(id=name, version="1.0.0", retry=FAST)
    async def op(ctx: Context[Shop], input: EmptyInput) -> None:
        do(ctx.deps, ctx)

    if undo is not None:

        @op.undo(retry=FAST)
        async def back(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[None]) -> None:
            undo(ctx.deps, ctx, outcome)

    return op


def of_three(
    op: Operation[EmptyInput, Any], *more: str, policy: Policy | None = None
) -> Saga[EmptyInput, Any]:
    """Make a saga with an operation between two that are right; with ``more`` steps of it, there are more."""

    @saga(id="buy", version="1.0.0", policy=policy or Policy())
    def buy(dag: Dag, params: EmptyInput) -> None:
        """A seat, a card, a mail."""
        dag.append("seat", seat, {})
        if op.undo_handler:
            dag.append("card", op, {})
        else:
            dag.append("card", op, {}, undo=no_undo)
        for name in more:
            dag.append(name, op, {})
        dag.append("mail", mail, {})

    return buy


# --- what is right ---


def sell(shop: Shop, ctx: Context[Shop]) -> None:
    shop.sold[ctx.idempotency_key] = ctx.step


def take_back(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    shop.sold.pop(ctx.idempotency_key, None)


def charge(shop: Shop, ctx: Context[Shop]) -> None:
    if ctx.idempotency_key not in shop.charged:
        shop.charged.add(ctx.idempotency_key)
        shop.money += 10


def refund(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if ctx.idempotency_key in shop.charged - shop.refunded:
        shop.refunded.add(ctx.idempotency_key)
        shop.money -= 10


async def _raise_price(ctx: Context[Shop], input: EmptyInput) -> None:
    before = ctx.saved or ctx.deps.price
    await ctx.save(before)
    ctx.deps.price = 5


async def _raise_and_tell(ctx: Context[Shop], input: EmptyInput) -> int:
    before = ctx.deps.price
    await ctx.save(ctx.saved or before)
    ctx.deps.price = 5
    return before


async def _price_as_told(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[int]) -> None:
    before = outcome.output if outcome.status == "done" else outcome.saved
    ctx.deps.price = before or ctx.deps.price


def telling() -> Operation[EmptyInput, int]:
    """Raise the price, telling what it was: done again, it tells its own."""
    op = operation(id="card", version="1.0.0", retry=FAST)(_raise_and_tell)
    op.undo(retry=FAST)(_price_as_told)
    return op


async def _price_back(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[None]) -> None:
    if outcome.saved is not None:
        ctx.deps.price = outcome.saved


def raising() -> Operation[EmptyInput, None]:
    """Raise the price, remembering what it was."""
    op = operation(id="card", version="1.0.0", retry=FAST)(_raise_price)
    op.undo(retry=FAST)(_price_back)
    return op


seat, mail = made("seat", sell, take_back), made("mail", sell, take_back)


def selling() -> Operation[EmptyInput, None]:
    return made("card", sell, take_back)


def charging() -> Operation[EmptyInput, None]:
    return made("card", charge, refund)


def _charge_in_time(shop: Shop, ctx: Context[Shop]) -> None:
    if ctx.idempotency_key in shop.refunded:
        raise Unrecoverable("it was refunded before it was made")
    charge(shop, ctx)


def _refund_for_ever(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    refund(shop, ctx, outcome)
    shop.refunded.add(ctx.idempotency_key)


def charging_in_time() -> Operation[EmptyInput, None]:
    """Charge the card, but never after it was refunded."""
    return made("card", _charge_in_time, _refund_for_ever)


# --- what is wrong ---


def _refund_again(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if ctx.idempotency_key in shop.charged:
        shop.money -= 10


def _charge_again(shop: Shop, ctx: Context[Shop]) -> None:
    shop.charged.add(ctx.idempotency_key)
    shop.money += 10


def _take_any(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    shop.sold.pop(next(iter(shop.sold)), None)


def _take_newest(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    keys = [key for key in shop.sold if key != "ann"]
    shop.sold.pop(keys[-1] if keys else "", None)


def _trust_the_error(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if outcome.error is None or outcome.error.type != "Unrecoverable":
        take_back(shop, ctx, outcome)


def _insist(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if shop.sold.pop(ctx.idempotency_key, None) is None and ctx.idempotency_key not in shop.refunded:
        raise RuntimeError("it isn't there")
    shop.refunded.add(ctx.idempotency_key)


def _only_done(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if outcome.status == "done":
        take_back(shop, ctx, outcome)


def _only_unknown(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if outcome.status == "unknown":
        take_back(shop, ctx, outcome)


def _sell_as_new(shop: Shop, ctx: Context[Shop]) -> None:
    shop.sold[f"{ctx.idempotency_key}-{uuid4()}"] = ctx.step


def _take_all_of_it(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    for key in [key for key in shop.sold if key.startswith(ctx.idempotency_key)]:
        del shop.sold[key]


def _price_of(shop: Shop, ctx: Context[Shop]) -> None:
    shop.price = 5


def _price_to_nothing(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    shop.price = 0


def _price_and_last(shop: Shop, ctx: Context[Shop]) -> None:
    shop.last, shop.price = str(shop.price), 5


def _price_to_last(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    shop.price = int(shop.last or shop.price)


def _once(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if ctx.idempotency_key in shop.refunded:
        raise RuntimeError("it is refunded already")
    refund(shop, ctx, outcome)


def _refuse_itself(shop: Shop, ctx: Context[Shop]) -> None:
    if ctx.idempotency_key in shop.sold:
        raise RuntimeError("it is sold already")
    sell(shop, ctx)


def _count_down(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    take_back(shop, ctx, outcome)
    if ctx.attempt > 1:
        shop.money -= 1


def _refund_unless_last(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    if ctx.idempotency_key in shop.charged and ctx.idempotency_key != shop.last:
        shop.last = ctx.idempotency_key
        shop.money -= 10


class Buy(Sequence[EmptyInput, None], id="buy", version="1.0.0"):
    """A seat and a card, one after the other."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        await self.execute(card, input)


class BuyAnyway(Sequence[EmptyInput, None], id="buy", version="1.0.0"):
    """A seat and a card; who has no card keeps the seat."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        try:
            await self.execute(card, input)
        except OperationFailed:
            return


card = made("card", sell, take_back)


@dataclass(frozen=True)
class Bug:
    """A mistake, and where a sweep shows it first.

    Attributes:
        wrong: the flow with it.
        right: the flow without it.
        mode: the first way to go wrong that shows it, at the step ``card``.
        says: what the sweep says there.
        late: steps that must have no effect once they were undone.
    """

    wrong: Any
    right: Any
    mode: str
    says: str
    late: tuple[str, ...] = ()


def _bug(
    do: Do,
    undo: Undo | None,
    right: Callable[[], Operation[EmptyInput, None]],
    mode: str,
    says: str,
    more: tuple[str, ...] = (),
    late: tuple[str, ...] = (),
) -> Bug:
    return Bug(of_three(made("card", do, undo), *more), of_three(right(), *more), mode, says, late)


BUGS = {
    "an undo that isn't idempotent": _bug(
        charge, _refund_again, charging, "undo repeated", "+{'money': 90,"
    ),
    "an operation that ignores its key": _bug(
        _charge_again, refund, charging, "crash after its effect", "+{'money': 120,"
    ),
    "a missing undo": _bug(sell, None, selling, "fails after its effect", "'card'"),
    "an undo of the wrong thing": _bug(sell, _take_any, selling, "fails after its effect", "'sold': ['card']"),
    "an undo that takes back the newest": _bug(
        sell, _take_newest, selling, "undo fails", "undoing card, which never happened, takes back something"
    ),
    "a leak when the second attempt fails": _bug(
        sell, _trust_the_error, selling, "times out after its effect", "'card'"
    ),
    "an undo that fails when nothing happened": _bug(
        sell, _insist, selling, "unknown, and never happened", "it ended stuck, not rolled_back"
    ),
    "an undo that takes unknown for failed": _bug(sell, _only_done, selling, "fails after its effect", "'card'"),
    "an undo that looks only at what is unknown": _bug(
        sell, _only_unknown, selling, "undo repeated", "+{'money': 100, 'price': 3, 'sold': [\"ann's seat\", 'card']"
    ),
    "an effect with a name of its own each time": _bug(
        _sell_as_new, _take_all_of_it, selling, "crash after its effect", "'card', 'card'"
    ),
    "an undo that forgets what was before": _bug(
        _price_of, _price_to_nothing, raising, "fails after its effect", "'price': 0"
    ),
    "an operation that takes its own effect for what was before": _bug(
        _price_and_last, _price_to_last, raising, "crash, then fails", "'price': 5"
    ),
    "an operation that tells its own effect as what was before": Bug(
        of_three(telling()), of_three(raising()), "crash, then undone", "'price': 5"
    ),
    "an undo that works once": _bug(
        charge, _once, charging, "undo repeated", "it ended stuck, not rolled_back"
    ),
    "an operation that refuses its own effect": _bug(
        _refuse_itself, take_back, selling, "crash after its effect", "it ended rolled_back, not completed"
    ),
    "an undo that differs when tried again": _bug(
        sell, _count_down, selling, "undo: transient error", "+{'money': 99,"
    ),
    "an undo that remembers only the last": _bug(
        charge, _refund_unless_last, charging, "undo fails, and another's", "+{'money': 90,", more=("tip",)
    ),
    "an operation that comes after its undo": _bug(
        charge, _refund_for_ever, charging_in_time, "undone, and then late", "+{'money': 110,", late=("card",)
    ),
    "an undo that forgets what never happened": _bug(
        _charge_in_time, refund, charging_in_time, "undone, and then late", "+{'money': 110,", late=("card",)
    ),
    "a body that goes on without what it needs": Bug(
        BuyAnyway, Buy, "fails before its effect", "it ended completed, not rolled_back"
    ),
}  # fmt: skip

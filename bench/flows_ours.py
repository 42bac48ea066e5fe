"""The same ten steps as operations and sequences."""

from __future__ import annotations

from activities import Context, Outcome, operation
from flows import Dag, Sequence, Step, saga


@operation(id="add-one", version="1.0.0")
async def add_one(ctx: Context[None], input: int) -> int:
    """Add one."""
    return input + 1


@operation(id="add-one-locally", version="1.0.0", placement="local")
async def add_one_locally(ctx: Context[None], input: int) -> int:
    """Add one."""
    return input + 1


class Remote(Sequence[int, int], id="remote", version="1.0.0"):
    """Ten remote steps, one after another."""

    async def run(self, input: int) -> int:
        """Run them."""
        for _ in range(10):
            input = (await self.execute(add_one, input)).output
        return input


class Local(Sequence[int, int], id="local", version="1.0.0"):
    """Ten local steps, one after another."""

    async def run(self, input: int) -> int:
        """Run them."""
        for _ in range(10):
            input = (await self.execute(add_one_locally, input)).output
        return input


@add_one.undo
async def take_one(ctx: Context[None], input: int, outcome: Outcome[int]) -> None:
    """Undo it."""


@saga(id="ten", version="1.0.0")
def ten(dag: Dag, params: int) -> Step[int]:
    """Ten remote steps, one after another."""
    last = dag.append("s0", add_one, params)
    for number in range(1, 10):
        last = dag.append(f"s{number}", add_one, last.ref())
    return last


@saga(id="planned", version="1.0.0")
def planned(dag: Dag, params: int) -> Step[int]:
    """So many steps, only to be planned."""
    last = dag.append("s0", add_one, 0)
    for number in range(1, params):
        last = dag.append(f"s{number}", add_one, last.ref())
    return last

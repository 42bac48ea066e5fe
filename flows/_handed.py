"""What a child flow hands to its parent beside its result: the steps that may have to be undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pydantic_core
from pydantic import BaseModel, ConfigDict
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from activities import ResultTooLarge
from activities._json import PAYLOAD_LIMIT, Json
from activities._wire import HEADER, json_payload
from flows._packed import pack, unpack
from flows._resume import Taken
from flows._undo import NotUndone, UndoRecord

Edges = Mapping[str, tuple[str, ...]]

REFUSED = frozenset({"InvalidInput", "UnknownFlow", "InvalidPlan"})
"""Failure types of flows that ended before they began."""

LEAVES_NOTHING = REFUSED | {"RolledBack"}
"""Failure types of flows that ended with nothing in place."""

ALL = "*"
"""Stands for the steps of a flow that can't be told one by one."""


class Handed(BaseModel):
    """What a child flow left in place, by the names that its steps have in it.

    Attributes:
        steps: that may have to be undone, in the order in which they began.
        after: what each step of it came after; each the one before it unless given.
        not_undone: what its own unwinding left.
        pivoted: whether its pivot was passed.
        took_over: whether what an earlier run of it left was its own; of one that ended before, it is still its
            parent's.
    """

    model_config = ConfigDict(frozen=True)

    steps: tuple[Taken, ...] = ()
    after: dict[str, tuple[str, ...]] | None = None
    not_undone: tuple[NotUndone, ...] = ()
    pivoted: bool = False
    took_over: bool = True

    @classmethod
    def beside(cls, payload: Payload) -> Handed:
        """Read what stands beside a child's result."""
        text = payload.metadata.get(HEADER)
        return cls() if text is None else cls.model_validate_json(unpack(text.decode()))

    def with_result(self, result: Json, who: str) -> RawValue:
        """Give the result with this beside it.

        Raises:
            ResultTooLarge: when both are more than one result can hold.
        """
        payload = json_payload(result)
        if self != Handed():
            text = pack(pydantic_core.to_json(self.model_dump(mode="json", exclude_defaults=True)).decode())
            payload.metadata[HEADER] = text.encode()
        if payload.ByteSize() > PAYLOAD_LIMIT:
            raise ResultTooLarge(
                f"{who}: the result and what would undo it have {payload.ByteSize()} bytes, {PAYLOAD_LIMIT} can be "
                "handed to the parent; keep large values elsewhere and pass references"
            )
        return RawValue(payload)

    def under(self, prefix: str) -> Handed:
        """Give it by the names that its steps have in the parent."""
        return self.model_copy(
            update={
                "steps": tuple(_renamed(step, prefix) for step in self.steps),
                "after": {
                    prefix + name: tuple(prefix + before for before in befores)
                    for name, befores in self.edges().items()
                },
                "not_undone": tuple(
                    NotUndone(prefix + left.step, left.definition, left.reason, left.failure)
                    for left in self.not_undone
                ),
            }
        )

    def edges(self) -> Edges:
        """Give what each step came after."""
        return in_a_row(step.step for step in self.steps) if self.after is None else self.after


def handed(
    records: Iterable[UndoRecord], after: Edges | None, left: Iterable[NotUndone], *, pivoted: bool
) -> Handed:
    """Give what a flow that ends has left in place."""
    standing = [r for r in sorted(records, key=lambda r: r.order) if not r.undone and r.settled is not None]
    return Handed(
        steps=tuple(_taken(record) for record in standing),
        after=dict(after) if after is not None and standing else None,
        not_undone=tuple(left),
        pivoted=pivoted,
    )


def _taken(record: UndoRecord) -> Taken:
    settled = record.settled
    assert settled is not None
    header = record.header
    return Taken(
        step=record.step,
        digest="",
        definition=record.definition,
        input=record.input,
        key=header.key,
        status=settled.status,
        output=settled.output,
        skipped=settled.skipped,
        verdict=settled.verdict.to_json(),
        header=header.model_copy(update={"origin": header.origin or header.run}),
        undo=record.undo,
        error=settled.failure,
    )


def _renamed(taken: Taken, prefix: str) -> Taken:
    """Give a step its name in the parent; its idempotency key stays what it was."""
    header, name = taken.header, prefix + taken.step
    identity = header.path + (header.step or taken.step)
    whole = identity.endswith(name)
    key = {"path": identity.removesuffix(name) if whole else "", "step": None if whole else identity}
    return taken.model_copy(update={"step": name, "digest": "", "header": header.model_copy(update=key)})


def in_a_row(steps: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Give the edges of steps of which each came after the one before it."""
    names = list(steps)
    return {name: (before,) if before else () for before, name in zip(["", *names], names, strict=False)}


def spliced(graph: Edges, unit: str, inner: Edges) -> dict[str, tuple[str, ...]]:
    """Put a child's steps into its parent's edges: after what the child came after, before what came after it."""
    before, followed = graph.get(unit, ()), {name for befores in inner.values() for name in befores}
    last = tuple(name for name in inner if name not in followed)
    whole = {**graph, **{name: befores or before for name, befores in inner.items()}}
    return {**whole, unit: last or before}

"""The flow that any tree runs as, and its operations, which do what their world says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

from activities import Context, Definition, EmptyInput, Outcome, OutcomeUnknown, Registry, Retry, operation
from flows import Dag, Pending, Plan, Policy, Saga, Sequence, Step, no_undo, saga
from tests.support import World

TWICE = Retry(max_attempts=2, initial=timedelta(milliseconds=1))


def write_faults(folder: Path, leaves: dict[str, Any]) -> None:
    """Say how the steps of a run behave."""
    (folder / "faults").write_text(json.dumps(leaves))


async def _act(ctx: Context[World], name: str, fault: str | None, *, slow: bool = False) -> None:
    """Record a call; the first of a flaky step fails, and each of a broken one."""
    root, _, by = ctx.workflow_id.partition("/")
    mine, key = World(ctx.deps.folder / root), ctx.idempotency_key
    first = mine.record(name, "begins", key, by) == 1
    if slow:
        await asyncio.sleep(0.05)
    mine.record(name, "ends", key, by)
    if fault == "unknown":
        raise OutcomeUnknown(f"{name}: who knows")
    if fault == "fail" or (fault == "flaky" and first):
        raise RuntimeError(f"{name} is down")


def _whole(ctx: Context[World]) -> str:
    """Give a step's name in the flow that all began with: a child's id is its parent's, and its name there."""
    return "/".join([*ctx.workflow_id.split("/")[1:], ctx.step])


def _faults(ctx: Context[World]) -> dict[str, Any]:
    faults = json.loads((ctx.deps.folder / ctx.workflow_id.split("/")[0] / "faults").read_text())
    found: dict[str, Any] = faults[_whole(ctx)]
    return found


@operation(id="act", version="1.0.0", retry=TWICE)
async def act(ctx: Context[World], input: EmptyInput) -> str:
    """Do what the world says."""
    leaf = _faults(ctx)
    await _act(ctx, _whole(ctx), leaf.get("fault"), slow=bool(leaf.get("slow")))
    return ctx.step


@act.undo(retry=TWICE)
async def undo_act(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    await _act(ctx, f"undo {_whole(ctx)}", _faults(ctx).get("undo_fault"))


@operation(id="act-locally", version="1.0.0", retry=TWICE, placement="local")
async def act_locally(ctx: Context[World], input: EmptyInput) -> str:
    """Do what the world says, in a local activity."""
    leaf = _faults(ctx)
    await _act(ctx, _whole(ctx), leaf.get("fault"), slow=bool(leaf.get("slow")))
    return ctx.step


@act_locally.undo(retry=TWICE)
async def undo_act_locally(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    await _act(ctx, f"undo {_whole(ctx)}", _faults(ctx).get("undo_fault"))


@saga(id="tree", version="1.0.0")
def tree(dag: Dag, params: dict[str, Any]) -> None:
    """Build what the tree says."""
    before: list[Step[Any]] = []
    for node in params["nodes"]:
        members = node.get("beside", [node])
        beside = [_pending(dag, n) for n in members if "child" not in n]
        stage = dag.append_parallel(*beside) if beside else ()
        before = [*stage, *(_child(dag, n, before) for n in members if "child" in n)]


def _pending(dag: Dag, node: dict[str, Any]) -> Pending[Any]:
    if "nodes" in node:
        return dag.step(node["name"], tree, {"nodes": node["nodes"]})
    runs = act_locally if node.get("local") else act
    options: Any = {"undo": no_undo} if node.get("no_undo") else {}
    return dag.step(node["name"], runs, {}, pivot=bool(node.get("pivot")), **options)


def _child(dag: Dag, node: dict[str, Any], after: list[Step[Any]]) -> Step[Any]:
    return dag.flow(node["name"], *_flow(node), after=after)


class _UnderAnyPolicy(Saga[dict[str, Any], None]):
    """A tree whose plan has the policy that its params name."""

    def plan(self, params: dict[str, Any], registry: Registry | None = None) -> Plan:
        whole = super().plan(params, registry)
        return whole.model_copy(update={"policy": Policy.model_validate(params["policy"])})


grown = _UnderAnyPolicy(tree.builder, Definition("grown", "1.0.0"), Policy())


class Line(
    Sequence[dict[str, Any], None],
    id="line",
    version="1.0.0",
    policy=Policy(on_failure="keep", hold_timeout=timedelta(milliseconds=10)),
):
    """A tree inline, or as a child, and nothing else: what the saga itself leaves stays."""

    async def run(self, input: dict[str, Any]) -> None:
        await self.execute(grown, input, step="tree", child=bool(input.get("child")))


class Walk(Sequence[dict[str, Any], None], id="walk", version="1.0.0"):
    """A tree as a sequence, under the policy that its input names."""

    async def run(self, input: dict[str, Any]) -> None:
        self._scope.policy = Policy.model_validate(input["policy"])
        for node in input["nodes"]:
            await self.gather(*(self._calls(n) for n in node.get("beside", [node])))

    def _calls(self, node: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        if "child" in node:
            return self.execute(*_flow(node), step=node["name"], force=True, child=True)
        runs = act_locally if node.get("local") else act
        return self.execute(runs, EmptyInput(), step=node["name"], force=True)


def _flow(node: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return Walk if node.get("sequence") else grown, {"nodes": node["child"], "policy": node["policy"]}

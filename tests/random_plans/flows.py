"""The flow that any tree runs as, and its operations, which do what their world says."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from activities import Context, Definition, EmptyInput, Outcome, OutcomeUnknown, Registry, Retry, operation
from flows import Dag, Plan, Policy, Saga, Sequence, no_undo, saga
from tests.support import World

TWICE = Retry(max_attempts=2, initial=timedelta(milliseconds=1))


def write_faults(folder: Path, leaves: dict[str, Any]) -> None:
    """Say how the steps of a run behave."""
    (folder / "faults").write_text(json.dumps(leaves))


async def _act(ctx: Context[World], name: str, fault: str | None, *, slow: bool = False) -> None:
    """Record a call; the first of a flaky step fails, and each of a broken one."""
    mine = World(ctx.deps.folder / ctx.workflow_id)
    key = ctx.idempotency_key
    mine.record(name, "begins", key)
    first = mine.calls.count((name, "begins", key)) == 1
    if slow:
        await asyncio.sleep(0.05)
    mine.record(name, "ends", key)
    if fault == "unknown":
        raise OutcomeUnknown(f"{name}: who knows")
    if fault == "fail" or (fault == "flaky" and first):
        raise RuntimeError(f"{name} is down")


def _faults(ctx: Context[World]) -> dict[str, Any]:
    faults = json.loads((ctx.deps.folder / ctx.workflow_id / "faults").read_text())
    found: dict[str, Any] = faults[ctx.step]
    return found


@operation(id="act", version="1.0.0", retry=TWICE)
async def act(ctx: Context[World], input: EmptyInput) -> str:
    """Do what the world says."""
    leaf = _faults(ctx)
    await _act(ctx, ctx.step, leaf.get("fault"), slow=bool(leaf.get("slow")))
    return ctx.step


@act.undo(retry=TWICE)
async def undo_act(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    await _act(ctx, f"undo {ctx.step}", _faults(ctx).get("undo_fault"))


@operation(id="act-locally", version="1.0.0", retry=TWICE, placement="local")
async def act_locally(ctx: Context[World], input: EmptyInput) -> str:
    """Do what the world says, in a local activity."""
    leaf = _faults(ctx)
    await _act(ctx, ctx.step, leaf.get("fault"), slow=bool(leaf.get("slow")))
    return ctx.step


@act_locally.undo(retry=TWICE)
async def undo_act_locally(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    await _act(ctx, f"undo {ctx.step}", _faults(ctx).get("undo_fault"))


@saga(id="tree", version="1.0.0")
def tree(dag: Dag, params: dict[str, Any]) -> None:
    """Build what the tree says."""
    for node in params["nodes"]:
        if "beside" in node:
            dag.append_parallel(*(dag.step(n["name"], *_runs(n)[:2], **_runs(n)[2]) for n in node["beside"]))
        else:
            runs, input, options = _runs(node)
            dag.append(node["name"], runs, input, **options)


def _runs(node: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    if "nodes" in node:
        return tree, {"nodes": node["nodes"]}, {}
    options = {**({"undo": no_undo} if node.get("no_undo") else {}), "pivot": bool(node.get("pivot"))}
    return act_locally if node.get("local") else act, {}, options


class _UnderAnyPolicy(Saga[dict[str, Any], None]):
    """A tree whose plan has the policy that its params name."""

    def plan(self, params: dict[str, Any], registry: Registry | None = None) -> Plan:
        whole = super().plan(params, registry)
        return whole.model_copy(update={"policy": Policy.model_validate(params["policy"])})


grown = _UnderAnyPolicy(tree.builder, Definition("grown", "1.0.0"), Policy())


class Line(Sequence[dict[str, Any], None], id="line", version="1.0.0", policy=Policy(on_failure="keep")):
    """A tree inline, and nothing else: what the saga itself leaves stays."""

    async def run(self, input: dict[str, Any]) -> None:
        await self.execute(grown, input, step="tree")

"""Resets of a sweep: to every workflow task of a run that has ended, those of its unwinding too."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from flows.testing import Mode, NotHeld, Temporal, _resets
from tests.kit.planted import card, mail, of_three, seat
from tests.kit.test_sweep import swept


@pytest.mark.parametrize("mode", [Mode.RESET_COMPLETED, Mode.RESET_UNWOUND])
async def test_a_run_is_reset_to_each_of_its_tasks(
    mode: Mode, temporal: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task once, and of one run; a step's cell counts those that scheduled it, its undo, or nothing after it."""
    resets: list[tuple[Client, str, str, int]] = []
    reset = _resets._reset

    async def noted(*args: Any) -> WorkflowHandle[Any, Any]:
        resets.append(args)  # type: ignore[arg-type]
        return await reset(*args)

    monkeypatch.setattr(_resets, "_reset", noted)
    coverage = await swept(of_three(card), temporal, serve=[seat, card, mail], modes=[mode])
    ((client, workflow_id, run_id),) = {one[:3] for one in resets}
    history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    ended = [e.event_id for e in history.events if e.HasField("workflow_task_completed_event_attributes")]
    scheduled = [e.activity_task_scheduled_event_attributes.activity_id for e in history.events]
    undos = ["mail.undo", "card.undo", "seat.undo"] if mode is Mode.RESET_UNWOUND else []
    assert [name for name in scheduled if name] == ["seat", "card", "mail", *undos]
    assert sorted(one[3] for one in resets) == ended
    assert coverage.runs == 3 + len(ended) == 3 + sum(coverage.cell(s, mode).runs for s in coverage.steps)


async def test_a_reset_of_an_undo_s_task_is_told_at_its_step(
    temporal: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reset in the middle of the unwinding breaks, breaks the cell of the step whose undo it was."""
    outcome, tried = _resets._outcome, []

    async def fifth(*args: Any) -> tuple[list[str], bool]:
        tried.append(args)  # the seat, its undo and the end; the card, and its undo
        return (["it went on"], False) if len(tried) == 5 else await outcome(*args)

    monkeypatch.setattr(_resets, "_outcome", fifth)
    with pytest.raises(NotHeld, match=r"card × reset after it unwound: \(event \d+\) it went on") as refused:
        await swept(of_three(card), temporal, serve=[seat, card, mail], modes=[Mode.RESET_UNWOUND])
    assert [step for step, _, _ in refused.value.coverage.found] == ["card"]

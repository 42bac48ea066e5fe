"""A crash before and after every handler call, and every workflow task: calls, effects and end as without (point 6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from flows import Plan
from tests.sagas.crash_scenarios import SCENARIOS
from tests.sagas.crash_sweep import Sweep, begin, looked_at, served
from tests.sagas.crashing import risky_building
from tests.spawning import Spawner, spawner
from tests.support import World

WHOLE = [name for name in SCENARIOS if name.startswith("1")]
REST = [name for name in SCENARIOS if not name.startswith("1")]
SAMPLE = {"2 settles": 9, "3 diamond": 9, "4 goes on to the end": 5, "4 parks": 11, "5 child flows": 17}
"""Of these, one moment of so many in the ordinary run."""


@pytest.fixture(scope="module")
def workers() -> Iterator[Spawner]:
    """Start workers that die where tests want them to."""
    with spawner("tests.sagas.crashing") as made:
        yield made


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "every"),
    [
        *((name, 1) for name in WHOLE),
        *SAMPLE.items(),
        *(pytest.param(name, 1, marks=pytest.mark.nightly) for name in REST),
    ],
)
async def test_a_crash_at_any_moment(
    workers: Spawner, tmp_path: Path, dev_address: str, name: str, every: int
) -> None:
    """V1, V3, S69, S71, S75: what had ended isn't called again, what was in flight once more, with its key; the same end."""
    client = await Client.connect(dev_address)
    ended = await Sweep(SCENARIOS[name], workers, tmp_path, dev_address, client).run(every)
    print(f"{name}: {len(ended)} moments, {sum(len(run.deaths) for run in ended)} deaths")


async def test_a_crash_while_the_plan_is_built(
    workers: Spawner, world: World, dev_address: str, task_queue: str
) -> None:
    """The worker dies in the builder: it builds again, an equal plan, by which the run goes on; each call is there once."""
    handle = await begin(await Client.connect(dev_address), risky_building, str(world.folder), task_queue)

    async def plan() -> object:
        await handle.result()
        return await looked_at(handle, "plan")

    found = await served(workers, (dev_address, task_queue, str(world.folder)), plan())
    builds = world.lines("builds")
    assert Plan.model_validate(found) == risky_building.plan(str(world.folder))
    assert builds == ["begun"] * 2
    assert world.effects == [name for name, _ in world.calls] == ["a", "b", "c"]

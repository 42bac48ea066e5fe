"""The flows of our own examples are swept: a few of their cells in `make test`, all of them nightly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from activities import SecretRef
from examples.tenants import onboard_tenant
from examples.tenants.onboarding import TenantSpec
from examples.tenants.server import Server
from flows.testing import ALL, QUICK, Coverage, Mode, NotHeld, Temporal, sweep
from flows.testing._modes import RESETS, RESTARTS
from tests.kit.examples import EXAMPLES, Example
from tests.postgres import cluster
from tests.test_tenants import OnePassword, masked

SAMPLE = (Mode.FAILS_AFTER, Mode.CRASH_FAILS, Mode.REPEATED, Mode.UNDO_CRASH)
SAMPLES = {
    "quickstart": ("charge-card", SAMPLE),
    "release": ("switch-traffic", SAMPLE),
    "catalog": ("leg:1/import-rows", SAMPLE),
    "simulation": ("launch-world", (Mode.FAILS_AFTER, Mode.REPEATED)),
    "tenants": ("table-plans", (Mode.FAILS_AFTER, Mode.UNDO_REPEATED)),
}
GROUPS = {
    "steps": [mode for mode in QUICK if not mode.startswith("undo")],
    "undos": [mode for mode in QUICK if mode.startswith("undo") and mode is not Mode.UNDO_FAILS],
    "undo-fails": [Mode.UNDO_FAILS],
    "restarts": [mode for mode in ALL if mode in RESTARTS],
    "resets": [mode for mode in ALL if mode in RESETS],
}
"""All modes, in parts that run side by side."""
CASES = [(name, group) for name in SAMPLES for group in GROUPS]


@contextmanager
def _example(name: str) -> Iterator[Example]:
    """Give an example; that of the tenants with a real PostgreSQL, which is one world for all: run by run."""
    if name != "tenants":
        yield EXAMPLES[name]
        return
    with cluster() as postgres:

        @asynccontextmanager
        async def server() -> AsyncIterator[Server]:
            postgres.clear()
            yield Server(postgres.dsn())

        given = TenantSpec(name="acme", password=SecretRef("ANY"))
        yield Example(
            onboard_tenant,
            given,
            lambda server: masked(postgres.catalog()).splitlines(),
            server,
            ("examples.tenants",),
            {"parallel": 1, "secrets": OnePassword()},
        )


async def swept(
    name: str, temporal: Temporal, modes: Collection[Mode], steps: Collection[str] | None = None
) -> Coverage:
    """Sweep an example; print its table, which pytest shows when it fails."""
    with _example(name) as example:
        try:
            return await sweep(
                example.flow, example.input, world=example.world, lifespan=example.lifespan,
                serve=example.serve, temporal=temporal, modes=modes, steps=steps, **example.options,
            )  # fmt: skip
        except NotHeld as error:
            print(error)
            return error.coverage


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_sample_of_an_example_holds(name: str, temporal: Temporal) -> None:
    """One step, in the modes that find most."""
    step, modes = SAMPLES[name]
    coverage = await swept(name, temporal, modes, [step])
    assert (coverage.problems, coverage.found) == ([], [])
    assert [coverage.cell(step, mode).status for mode in modes] == ["held"] * len(modes)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "group"), CASES)
async def test_an_example_holds(name: str, group: str, temporal: Temporal) -> None:
    """Every step in every mode."""
    coverage = await swept(name, temporal, GROUPS[group])
    assert (coverage.problems, coverage.found) == ([], [])
    assert coverage.count("missing") == 0 < coverage.count("held")


def test_every_example_is_swept_in_every_mode() -> None:
    """The parts are all modes, each once, and no example is left out."""
    assert sorted(mode for modes in GROUPS.values() for mode in modes) == sorted(ALL)
    assert SAMPLES.keys() == EXAMPLES.keys() | {"tenants"}

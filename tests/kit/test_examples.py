"""The flows of our own examples are swept: a few of their cells in `make test`, all of them nightly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest

from activities import SecretRef
from examples.tenants import onboard_tenant
from examples.tenants.onboarding import TenantSpec
from examples.tenants.server import Server
from flows.testing import ALL, QUICK, Coverage, Mode, NotHeld, Temporal, sweep
from tests.kit.examples import EXAMPLES
from tests.postgres import cluster
from tests.test_tenants import OnePassword, masked

SAMPLE = (Mode.FAILS_AFTER, Mode.CRASH_FAILS, Mode.REPEATED, Mode.UNDO_CRASH)
STEPS = {"quickstart": "charge-card", "release": "switch-traffic", "catalog": "leg:1/import-rows"}


async def swept(
    name: str, temporal: Temporal, modes: Collection[Mode], steps: Collection[str] | None = None
) -> Coverage:
    """Sweep an example; print its table, which pytest shows when it fails."""
    example = EXAMPLES[name]
    try:
        return await sweep(
            example.flow, example.input, world=example.world, lifespan=example.lifespan,
            serve=example.serve, temporal=temporal, modes=modes, steps=steps, **example.options,
        )  # fmt: skip
    except NotHeld as error:
        print(error)
        return error.coverage


@pytest.mark.parametrize("name", STEPS)
async def test_a_sample_of_an_example_holds(name: str, temporal: Temporal) -> None:
    """One step, in the modes that find most."""
    coverage = await swept(name, temporal, SAMPLE, [STEPS[name]])
    assert (coverage.problems, coverage.found) == ([], [])
    assert [coverage.cell(STEPS[name], mode).status for mode in SAMPLE] == ["held"] * len(SAMPLE)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_holds(name: str, temporal: Temporal) -> None:
    """Every step in every mode; the smallest one with restarts and resets too."""
    coverage = await swept(name, temporal, ALL if name == "quickstart" else QUICK)
    assert (coverage.problems, coverage.found) == ([], [])
    assert coverage.count("missing") == 0 < coverage.count("held")


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_a_tenant_holds(temporal: Temporal) -> None:
    """A step of each operation of the saga on a real PostgreSQL, which is one world for all: run by run."""
    modes = (*SAMPLE, Mode.UNKNOWN, Mode.UNDO_REPEATED)
    steps = ["owner", "database", "schema-app", "writer-reads", "table-plans", "writer-adds-events"]
    with cluster() as postgres:

        @asynccontextmanager
        async def server() -> AsyncIterator[Server]:
            postgres.clear()
            yield Server(postgres.dsn())

        coverage = await sweep(
            onboard_tenant,
            TenantSpec(name="acme", password=SecretRef("ANY")),
            world=lambda server: masked(postgres.catalog()).splitlines(),
            lifespan=server,
            serve=["examples.tenants"],
            temporal=temporal,
            modes=modes,
            steps=steps,
            parallel=1,
            secrets=OnePassword(),
        )
    assert coverage.count("held") == len(coverage.steps) * len(modes) == 36

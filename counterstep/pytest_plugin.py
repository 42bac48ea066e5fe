"""The pytest plugin: fixtures ``temporal``, ``flow_worker`` and ``run_flow``. Importing it imports pytest alone.

Registered by an entry point, so that it is there wherever Counterstep is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flows.testing import FlowWorker, Ran, Temporal


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--temporal``."""
    parser.getgroup("counterstep").addoption(
        "--temporal",
        default="skipping",
        metavar="WHERE",
        type=_where,
        help="where flows are tested: skipping (a time-skipping server for each worker), dev (a dev server for the "
        "session), or host:port",
    )


def _where(given: str) -> str:
    """Take where to test, as the option says it."""
    if given in ("skipping", "dev") or given.rpartition(":")[2].isdigit():
        return given
    raise argparse.ArgumentTypeError(f"{given!r} is none of skipping, dev, host:port")


@pytest.fixture(scope="session")
def temporal(request: pytest.FixtureRequest) -> Iterator[Temporal]:
    """Where flows are tested; see ``--temporal``."""
    from flows.testing import Temporal, dev_server

    where = str(request.config.getoption("--temporal"))
    if where == "dev":
        with dev_server() as server:
            yield server
    else:
        yield Temporal(None if where == "skipping" else where)


@pytest.fixture
def flow_worker(temporal: Temporal) -> Callable[..., AbstractAsyncContextManager[FlowWorker]]:
    """Give what serves definitions for a test.

    As :func:`flows.testing.serving`: ``async with flow_worker(op, Flow, deps=cloud) as worker``.
    """
    from flows.testing import serving

    return lambda *served, **options: serving(*served, **{"temporal": temporal, **options})


@pytest.fixture
def run_flow(
    flow_worker: Callable[..., AbstractAsyncContextManager[FlowWorker]],
) -> Callable[..., Any]:
    """Give what runs a flow once, on a worker of its own.

    ``ran = await run_flow(Flow, input, serve=[op], deps=cloud)``.
    """

    async def run(flow: Any, input: Any = None, *, serve: Any = (), **options: Any) -> Ran:
        async with flow_worker(*serve, flow, **options) as worker:
            return await worker.run(flow, input)

    return run

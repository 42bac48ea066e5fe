"""The flows of our own examples: each in a world of its own, and how to look at it."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from activities import Context
from examples import catalog, simulation
from examples.catalog.importing import ImportCatalog, ImportRequest
from examples.catalog.store import Catalog
from examples.quickstart import Booking, BookSeat, Desk
from examples.release import processes
from examples.release.inspection import look as look_at
from examples.release.layout import Site as Machine
from examples.release.operations import (
    ReservePort,
    StartService,
    UnpackRelease,
    reserve_port,
    start_service,
    unpack_release,
)
from examples.release.rollout import Rollout, RolloutSpec
from examples.simulation.jobs import Wanted
from examples.simulation.site import Site

KEY = "0123456789abcdef"


@dataclass(frozen=True)
class Example:
    """A flow of an example, and its worlds.

    Attributes:
        flow: what is swept.
        input: its input.
        world: tells what is there.
        lifespan: yields a world.
        serve: what it needs.
        options: of the sweep.
    """

    flow: Any
    input: Any
    world: Any
    lifespan: Any
    serve: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def _kinds(desk: Desk) -> list[str]:
    return sorted(file.name.split("-")[0] for file in desk.root.iterdir())


@asynccontextmanager
async def _desk() -> AsyncIterator[Desk]:
    with tempfile.TemporaryDirectory() as folder:
        yield Desk(Path(folder))


@asynccontextmanager
async def _machine() -> AsyncIterator[Machine]:
    """A machine on which release 1.0.0 has the traffic, and 2.0.0 is published."""
    with tempfile.TemporaryDirectory() as folder:
        site = Machine(Path(folder))
        try:
            for version in ("1.0.0", "2.0.0"):
                site.publish(version)
            await asyncio.to_thread(_first, site)
            yield site
        finally:
            for home in site.services.iterdir():
                await asyncio.to_thread(processes.forget, home)


def _first(site: Machine) -> None:
    ctx = Context.of(site, idempotency_key=KEY)
    port = reserve_port.handler(ctx, ReservePort(version="1.0.0"))
    release = unpack_release.handler(ctx, UnpackRelease(version="1.0.0"))
    service = start_service.handler(ctx, StartService(folder=release.folder, port=port.number))
    site.point(service.id)


def _services(site: Machine) -> Any:
    """What is on the machine; what this run made has no name."""
    state = look_at(site)

    def told(names: Any) -> list[str]:
        return sorted(name if KEY in name else re.sub(r"-?[0-9a-f]{16}$", "-new", name) for name in names)

    serving = [] if state.serving is None else [state.serving]
    parts = (state.ports, state.releases, state.services, state.running, serving)
    return dict(zip(("ports", "releases", "services", "running", "serving"), map(told, parts), strict=True))


@asynccontextmanager
async def _catalog() -> AsyncIterator[Catalog]:
    """A catalog with an old product, and a file beside it."""
    with tempfile.TemporaryDirectory() as folder:
        made = Catalog(Path(folder) / "catalog.db")
        made.create()
        made.put("before", [("S1", "old name", 7), ("Z", "not in the file", 1)])
        rows = [f"S{number},product {number},{number}" for number in range(6)]
        (Path(folder) / "products.csv").write_text("\n".join(["sku,name,cents", *rows]))
        yield made


def _import(catalog: Catalog) -> ImportRequest:
    file = str(catalog.path.with_name("products.csv"))
    return ImportRequest(file=file, batch=2, batches=2, rest=timedelta(milliseconds=10))


@asynccontextmanager
async def _simulations() -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), slots=2)
        try:
            yield site
        finally:
            for home in site.root.glob("simulations/*/nodes/*"):
                await asyncio.to_thread(processes.forget, home)


def _simulated(site: Site) -> Any:
    """Names of files, and all processes that run from there, also those whose folder is gone."""
    own = re.compile(r"slots/\.lock|.*/(log|pid|lock)|index\.json")
    files = [str(path.relative_to(site.root)) for path in site.root.rglob("*") if path.is_file()]
    return {
        "files": sorted(file for file in files if not own.fullmatch(file)),
        "running": sorted(_running(str(site.root))),
        "index": site.index(),
    }


def _running(root: str) -> Iterator[str]:
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(root in word for word in words):
            yield Path(words[words.index("--home") + 1]).name


EXAMPLES = {
    "quickstart": Example(
        BookSeat, Booking(seat="12A", card="4242"), _kinds, _desk, ("examples.quickstart",)
    ),
    "release": Example(
        Rollout, RolloutSpec(version="2.0.0"), _services, _machine, ("examples.release",), {"parallel": 4}
    ),
    "catalog": Example(ImportCatalog, _import, Catalog.rows, _catalog, (catalog.__name__,)),
    "simulation": Example(
        simulation.launch_simulation,
        Wanted(name="maze", robots=["ada"]),
        _simulated,
        _simulations,
        (simulation.__name__,),
        {"parallel": 4},
    ),
}

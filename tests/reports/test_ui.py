"""What Temporal's own UI shows of our flows, looked at in a real browser."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, Operation, Outcome, Registry, Retry, operation
from flows import CounterstepPlugin, Dag, Policy, Saga, Sequence, Step, no_undo, saga, start
from tests.conftest import _free_port, _listening, _ready
from tests.support import binary, eventually

with workflow.unsafe.imports_passed_through():
    from tests.reports.browser import CHROMIUM, WHY_NOT, Browser, browser

TWICE = Retry(max_attempts=2, initial=timedelta(milliseconds=10))
REASON = "step card (charge-card@1.0.0) failed after 2 attempts: RuntimeError: the card is empty"


@operation(id="reserve-desk", version="1.0.0")
async def reserve(ctx: Context[Any], input: int) -> int:
    """Reserve a desk."""
    return input


@reserve.undo
async def release(ctx: Context[Any], input: int, outcome: Outcome[int]) -> None:
    """Release it."""


@operation(id="charge-card", version="1.0.0", retry=TWICE)
async def charge(ctx: Context[Any], input: int) -> int:
    """Charge the card."""
    if input > 100:
        raise RuntimeError("the card is empty")
    return input


@saga(id="rent-desk", version="1.0.0")
def rent(dag: Dag, params: int) -> Step[int]:
    """Rent a desk."""
    desk = dag.append("desk", reserve, params)
    dag.wait("cooling-off", timedelta(milliseconds=50))
    return dag.append("card", charge, desk.ref(), undo=no_undo)


class RentHeld(Sequence[int, int], id="rent-held", version="1.0.0", policy=Policy(on_failure="hold")):
    """Rent a desk, and ask when something fails."""

    async def run(self, input: int) -> int:
        await self.execute(reserve, input, step="desk")
        return (await self.execute(charge, input, step="card")).output


RUNS: dict[str, tuple[Saga[Any, Any] | type[Sequence[Any, Any]], int]] = {
    "finished": (rent, 7),
    "failed": (rent, 700),
    "held": (RentHeld, 700),
}
STATES = {"finished": "completed", "failed": "rolled_back", "held": "running, held"}
SAGA_STEPS = [
    "reserve-desk@1.0.0 • desk: Reserve a desk.",
    "cooling-off",
    "charge-card@1.0.0 • card: Charge the card.",
]
TIMELINES = {
    "finished": ["COMPLETED", *SAGA_STEPS],
    "failed": [
        "FAILED",
        *SAGA_STEPS,
        f"rent-desk@1.0.0 rolled back: {REASON}",
        "undo desk (reserve-desk@1.0.0)",
    ],
    "held": ["RUNNING", SAGA_STEPS[0], SAGA_STEPS[2], "card is held"],
}
DETAILS = {
    "finished": ["rent-desk@1.0.0: completed", "step state", "desk done", "cooling-off done", "card done"],
    "failed": ["rent-desk@1.0.0: rolled_back", "desk undone", "cooling-off done", "card failed"],
    "held": ["rent-held@1.0.0: running, held", "desk done", "card held"],
}
MEMOS = {
    "finished": ["Memo {}"],
    "failed": ['"state": "rolled_back"', f'"reason": "OperationFailed: {REASON}"'],
    "held": ['"state": "held"', f'"reason": "card: {REASON}"'],
}
PAGES = {"timeline": TIMELINES, "user-metadata": DETAILS, "memo": MEMOS}


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """A dev server with its UI; gives both addresses."""
    port, ui = _free_port(), _free_port()
    command = [binary("temporal"), "server", "start-dev", "--ip", "127.0.0.1", "--log-level", "never"]
    command += ["--port", str(port), "--ui-port", str(ui)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as popen:
        try:
            yield f"127.0.0.1:{port}", f"http://127.0.0.1:{ui}"
        finally:
            popen.kill()


def definitions() -> list[Operation[Any, Any] | Saga[Any, Any] | type[Sequence[Any, Any]]]:
    """Give what is served."""
    return [reserve, charge, rent, RentHeld]


@asynccontextmanager
async def running(id: str) -> AsyncIterator[str]:
    """Run a flow as far as it gets; gives its address in the UI."""
    with server() as (address, ui):
        await eventually(lambda: _listening(int(address.rpartition(":")[2])))
        plugin = CounterstepPlugin(Registry(*definitions()), deps=None)
        client = await Client.connect(await _ready(address), plugins=[plugin])
        async with Worker(client, task_queue="q"):
            flow, input = RUNS[id]
            handle: Any = await start(client, flow, input, id=id, task_queue="q")
            while (await handle.query("status"))["state"] != STATES[id]:
                await asyncio.sleep(0.05)
            yield f"{ui}/namespaces/default/workflows/{id}/{handle.first_execution_run_id}"


def look(opened: Browser, url: str, wanted: list[str]) -> bytes:
    """Open a page, wait until it shows all that is wanted, and give a picture of it."""
    opened.visit(
        url, f"(document.body?.innerText ?? '').includes({json.dumps(url.split('/')[-3])})", height=1100
    )
    deadline = time.monotonic() + 60
    while missing := [words for words in wanted if words not in " ".join(opened.text().split())]:
        assert time.monotonic() < deadline, (url, missing, opened.text())
        time.sleep(0.1)
    return opened.picture()


@pytest.mark.parametrize(
    "id", ["held", *(pytest.param(id, marks=pytest.mark.nightly) for id in ("finished", "failed"))]
)
async def test_steps_states_and_reasons_are_in_temporals_ui(id: str, tmp_path: Path) -> None:
    """The timeline names steps, the current details are a table of their states, the memo says why it isn't well."""
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)

    def pictures(url: str) -> dict[str, bytes]:
        with browser(tmp_path / "chromium") as opened:
            return {page: look(opened, f"{url}/{page}", shown[id]) for page, shown in PAGES.items()}

    async with running(id) as url:
        for page, picture in (await asyncio.to_thread(pictures, url)).items():
            (tmp_path / f"{page}.png").write_bytes(picture)
            assert picture.startswith(b"\x89PNG")

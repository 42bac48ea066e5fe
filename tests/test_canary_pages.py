"""A canary, looked for in a real browser: on the pages of Temporal's UI, and on our own page."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities import Registry
from counterstep.reports import Report, fetch_report, page
from flows import CounterstepPlugin, start
from tests import canary as flows
from tests.conftest import _listening, _ready
from tests.reports.browser import CHROMIUM, WHY_NOT, Browser, browser
from tests.reports.test_ui import server
from tests.support import World, eventually, failure_of
from tests.test_canary import CANARY, GIVEN, Vault, until_held

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT),
]
TABS = {
    "timeline": "Hide idle time",
    "history": "Event Type",
    "relationships": "Child Count",
    "user-metadata": "Current Details",
    "memo": '"counterstep"',
}
"""The tabs of a run, and what each shows."""

Runs = tuple[WorkflowHandle[Any, Any], ...]


async def secrets(client: Client) -> Runs:
    """Run the flows that handle a secret: one unwinds, one is held."""
    unwound = await start(client, flows.Logins, GIVEN, id="unwound", task_queue="q")
    await failure_of(unwound)
    held = await start(client, flows.logins, GIVEN, id="held", task_queue="q")
    await until_held(held)
    return unwound, held


async def sealed(client: Client) -> Runs:
    """Run the flows whose values are encrypted: one unwinds, one is held."""
    unwound = await start(client, flows.copies, CANARY, id="unwound", task_queue="q")
    await failure_of(unwound)
    held = await start(client, flows.Copies, CANARY, id="held", task_queue="q")
    await until_held(held)
    return unwound, held


NAMES = ("login", "login_here", "login_blocking", "refused", "Logins", "logins")
SEALED = ("copy", "copy_here", "tear", "Inner", "Copies", "copies")
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Client], Any], str]] = {
    "secret": (NAMES, {"secrets": Vault()}, secrets, "BIRD"),
    "encrypted": (SEALED, {"data_converter": flows.data_converter}, sealed, "binary/sealed"),
}
"""Flows, how they are served, what runs them, and what the pages show where the canary would be."""


@asynccontextmanager
async def running(case: str, folder: Path) -> AsyncIterator[tuple[Client, str, Runs]]:
    """Run a case's flows on a server with its UI; gives a client without converter, the UI's address, and the runs."""
    names, options, run, _ = CASES[case]
    with server() as (address, ui):
        await eventually(lambda: _listening(int(address.rpartition(":")[2])))
        registry = Registry(*(getattr(flows, name) for name in names))
        plugin = CounterstepPlugin(registry, deps=World(folder), **options)
        client = await Client.connect(await _ready(address), plugins=[plugin])
        async with Worker(client, task_queue="q"):
            plain = await Client.connect(address)
            yield plain, f"{ui}/namespaces/default/workflows", await run(client)


def everything(opened: Browser, wanted: str = "") -> str:
    """Wait until a page shows something; give all of it: as text, and as it is made."""
    deadline = time.monotonic() + 60
    while wanted not in " ".join(opened.text().split()):
        assert time.monotonic() < deadline, (wanted, opened.text())
        time.sleep(0.1)
    opened.settle()
    return f"{opened.text()}\n{opened.run('document.documentElement.outerHTML')}"


def press(opened: Browser, name: str) -> None:
    """Press a button."""
    named = f"[...document.querySelectorAll('button')].find(one => one.innerText.trim() === '{name}')"
    opened.until(f"!!{named}")
    opened.run(f"{named}.click()")


def of_ui(opened: Browser, workflows: str, handle: WorkflowHandle[Any, Any]) -> Iterator[str]:
    """Give what Temporal's UI shows of all runs, and of one, tab by tab, and every event."""
    run = f"{workflows}/{handle.id}/{handle.first_execution_run_id}"
    for url, wanted in ((workflows, handle.id), *((f"{run}/{tab}", TABS[tab]) for tab in TABS)):
        opened.visit(url, "!!document.body")
        yield everything(opened, wanted)
        if url.endswith("/history"):
            press(opened, "JSON")
            yield everything(opened, '"eventId": "1"')
            press(opened, "All")  # it remembers the choice


def of_page(opened: Browser, file: Path, report: Report[Any, Any]) -> Iterator[str]:
    """Give what our page shows, step by step."""
    file.write_text(page(report))
    for step in report.walk():
        opened.open(file, f"#step={step.step}")
        yield everything(opened)


@pytest.mark.parametrize("case", CASES)
async def test_the_canary_is_on_no_page(case: str, tmp_path: Path) -> None:
    """Of runs that unwound and are held: not on any tab of Temporal's UI, in no list, and not on our page."""

    def looked(workflows: str, runs: Runs, reports: list[Report[Any, Any]]) -> tuple[list[str], list[str]]:
        with browser(tmp_path / "chromium") as opened:
            theirs = [text for handle in runs for text in of_ui(opened, workflows, handle)]
            file = tmp_path / "page.html"
            return theirs, [text for report in reports for text in of_page(opened, file, report)]

    async with running(case, tmp_path) as (client, workflows, runs):
        reports = [await fetch_report(client, handle.id) for handle in runs]
        theirs, ours = await asyncio.to_thread(looked, workflows, runs, reports)
    shown = CASES[case][-1]
    encoded = base64.b64encode(shown.encode()).decode()
    assert any(shown in text or encoded in text for text in theirs)
    assert any(shown in text for text in ours)
    assert (len(theirs), len(ours) >= 6) == (14, True)
    assert [text[:200] for text in (*theirs, *ours) if CANARY in text] == []

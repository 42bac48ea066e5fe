"""Whatever a run is, it has a report: every run that a session of tests left on its server is asked for it."""

from __future__ import annotations

import traceback

from temporalio.client import Client

from counterstep.reports import fetch_events, page, read_run, report_of, spans_of, tree_json


async def without_report(address: str) -> list[str]:
    """Read each run's history, its own alone, and make all that is made of one.

    Returns:
        The runs for which that fails, each with its error.
    """
    client, failing = await Client.connect(address), []
    async for run in client.list_workflows():
        try:
            report = report_of(read_run(run.id, await fetch_events(client, run.id, run.run_id)), "default")
            tree_json(report), page(report), list(spans_of(report))
        except Exception:
            failing.append(f"{run.workflow_type} {run.id} {run.run_id}: {traceback.format_exc(limit=-5)}")
    return failing

"""`make demo`: a real rollout runs, fails and undoes itself, on a Temporal of its own.

Starts the worker with its embedded Temporal, publishes two releases, and rolls them out through the
`temporal` command: 1.0.0 is well; 2.0.0 is broken, so it is stopped, and its folder and port are given back.
What it says about that it has looked up, in the file system and over HTTP. On a terminal it stays up until
Ctrl-C; otherwise it ends by itself. Either way it leaves no process and no file behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from counterstep.reports import fetch_report, render_tree
from examples.release import inspection, processes
from examples.release.children import DemoFailed, Temporal, dev_worker, run_temporal
from examples.release.inspection import Finding
from examples.release.layout import Site

GOOD, BROKEN = "1.0.0", "2.0.0"
INTERRUPTED = 130

console = Console(highlight=False)


async def demo(site: Site) -> None:
    """Roll out a good release, then a broken one, and look at what is left of it.

    Raises:
        DemoFailed: Something isn't as a rollout promises.
    """
    site.publish(GOOD)
    site.publish(BROKEN, healthy=False)
    async with dev_worker(site) as temporal:
        console.print(f"Temporal is at {temporal.address}, its UI at {temporal.ui}")
        await roll_out_both(site, temporal)
        if sys.stdin.isatty() and sys.stdout.isatty():
            console.print(
                f"\nIt is all in the UI: {temporal.ui}\nCtrl-C ends the demo and removes what it made."
            )
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


async def roll_out_both(site: Site, temporal: Temporal) -> None:
    """Roll out the good release and then the broken one.

    Raises:
        DemoFailed: Something isn't as a rollout promises.
    """
    console.print(f"\n{GOOD} is rolled out:", style="bold cyan")
    await roll_out(GOOD, temporal, succeeds=True)
    tell([inspection.answers(site, GOOD)])
    before = inspection.look(site)
    console.print(f"\n{BROKEN}, whose health check answers 503, is rolled out:", style="bold cyan")
    await roll_out(BROKEN, temporal, succeeds=False)
    tell([*inspection.unchanged(before, inspection.look(site), BROKEN), inspection.answers(site, GOOD)])


async def roll_out(version: str, temporal: Temporal, *, succeeds: bool) -> None:
    """Roll out one release through the Temporal CLI, and print what happened as a tree.

    Raises:
        DemoFailed: It ended otherwise than it should.
    """
    run = f"rollout-v{version[0]}"
    command = ["workflow", "execute", "--type", "rollout@1.0.0", "--task-queue", "counterstep"]
    command += ["--workflow-id", run, "--input", f'{{"version": "{version}"}}', "--address", temporal.address]
    console.print(f"$ temporal {shlex.join(command)}", style="bold", markup=False, soft_wrap=True)
    code, printed = await run_temporal(command)
    if (code == 0) is not succeeds:
        raise DemoFailed(f"the rollout should have {'succeeded' if succeeds else 'failed'}:\n{printed}")
    console.print(render_tree(await fetch_report(await Client.connect(temporal.address), run)))
    console.print(f"In the UI: {temporal.ui}/namespaces/default/workflows/{run}", style="dim", soft_wrap=True)


def tell(findings: list[Finding]) -> None:
    """Print what was found.

    Raises:
        DemoFailed: Something found isn't true.
    """
    for finding in findings:
        mark, style = ("✓", "green") if finding.true else ("✗", "red")
        console.print(f"{mark} {finding.claim}", style=style, markup=False)
    if not all(finding.true for finding in findings):
        raise DemoFailed("what is there isn't what a rollout promises: see ✗ above")


@contextmanager
def scratch() -> Iterator[Site]:
    """A site in a temporary folder. In the end its services are stopped and the folder is removed."""
    with tempfile.TemporaryDirectory(prefix="counterstep-demo-") as folder:
        site = Site(Path(folder).resolve())
        try:
            yield site
        finally:
            for home in site.services.iterdir():
                processes.stop(home)


async def run() -> int:
    """Run the demo; Ctrl-C, SIGTERM and a closed terminal end it in good order.

    Returns:
        The exit code: 0, 1 when something isn't as it should be, 130 when it was interrupted on its way.
    """
    with scratch() as site:
        story = asyncio.create_task(demo(site))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, story)
        try:
            await story
        except DemoFailed as error:
            print(f"The demo failed: {error}", file=sys.stderr)
            return 1
        except asyncio.CancelledError:
            return INTERRUPTED
    return 0


def interrupt(story: asyncio.Task[None]) -> None:
    """End the story; its cleaning up isn't interrupted again."""
    if not story.cancelling():
        story.cancel()


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))

"""``make chaos``: hundreds of open sagas, while workers, the server and connections are killed."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from temporalio.client import Client

from tests.chaos.proxy import Proxy
from tests.chaos.store import Store
from tests.chaos.storm import KINDS, Storm
from tests.chaos.verdict import Verdict, verdict
from tests.serving import Server
from tests.spawning import spawner

PATIENCE = 1200
"""Seconds that the last runs may take to end, once nothing is killed any more."""


async def chaos(folder: Path, sagas: int, seconds: float, workers: int, seed: int) -> tuple[Storm, Verdict]:
    """Let it rage, wait for calm, and look."""
    store, server = Store(folder / "effects.db"), Server(folder / "temporal.db")
    store.prepare()
    await server.up()
    proxy = Proxy(server.port)
    try:
        with spawner("tests.chaos.work") as workers_:
            storm = Storm(
                server,
                proxy,
                workers_,
                await proxy.up(),
                "chaos",
                str(store.file),
                workers,
                random.Random(seed),
            )
            await storm.rage(sagas, seconds)
            await storm.calm(PATIENCE)
        client = await Client.connect(server.address)
        return storm, await verdict(client, storm.runs, storm.open, store)
    finally:
        proxy.down()
        server.kill()


def lines(storm: Storm, found: Verdict, sagas: int, kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give the figures, and what is wrong with them.

    Args:
        storm: that is over.
        found: what became of the runs.
        sagas: that should have been open at once.
        kinds: of strikes that should have happened.
    """
    did = ", ".join(f"{what} {n}" for what, n in sorted(storm.done.items()))
    ends = ", ".join(f"{end} {n}" for end, n in sorted(found.ends.items()))
    figures = [
        f"{len(storm.runs)} sagas, at most {found.most_open} open at once ({sagas} wanted)",
        f"done to them: {did}",
        f"ends: {ends}",
        f"{found.calls} calls of handlers, {found.ended} came to their end; {found.attempts} attempts reported",
    ]
    wrong = [f"WRONG: {line}" for line in found.wrong]
    wrong += [f"MISSING: {kind} never happened" for kind in kinds if not storm.done[kind]]
    if found.most_open < sagas:
        wrong.append(f"MISSING: {sagas} open at once; there were {found.most_open}")
    return figures, wrong


def main(sagas: int, minutes: float, workers: int, seed: int, kinds: Sequence[str]) -> int:
    """Do it, print the figures, give the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        storm, found = asyncio.run(chaos(Path(made), sagas, minutes * 60, workers, seed))
    figures, wrong = lines(storm, found, sagas, kinds)
    took = f"{time.monotonic() - began:.0f} s, seed {seed}"
    print("\n".join([*figures, took, *wrong]))
    print(f"{len(wrong)} wrong or missing" if wrong else "nothing lost, nothing left, nothing twice")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sagas", type=int, default=500, help="open at once; fewer at the most is a failure")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--kinds", default=",".join(KINDS), help="of strikes that must happen; fewer for a short storm"
    )
    given = parser.parse_args()
    wanted = [kind for kind in given.kinds.split(",") if kind]
    sys.exit(main(given.sagas, given.minutes, given.workers, given.seed, wanted))

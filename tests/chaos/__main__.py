"""``make chaos``: hundreds of open sagas, while workers, the server and connections are killed."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from temporalio.client import Client

from tests.chaos.proxy import Proxy
from tests.chaos.store import Store
from tests.chaos.storm import Storm
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


def main(sagas: int, minutes: float, workers: int, seed: int) -> int:
    """Do it, print the figures, give the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        storm, found = asyncio.run(chaos(Path(made), sagas, minutes * 60, workers, seed))
        calls = Store(Path(made) / "effects.db").called()
    print(f"{len(storm.runs)} sagas, {sagas} open at once, {time.monotonic() - began:.0f} s, seed {seed}")
    print(f"done to them: {', '.join(f'{what} {n}' for what, n in sorted(storm.done.items()))}")
    print(
        f"ends: {', '.join(f'{end} {n}' for end, n in sorted(found.ends.items()))}; {calls} calls of handlers"
    )
    for line in found.wrong:
        print(f"WRONG: {line}")
    print("nothing lost, nothing left, nothing twice" if not found.wrong else f"{len(found.wrong)} wrong")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sagas", type=int, default=500, help="open at once")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    sys.exit(main(given.sagas, given.minutes, given.workers, given.seed))

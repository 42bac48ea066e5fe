"""The rollout of a release, as a sequence."""

from __future__ import annotations

from pydantic import BaseModel
from temporalio import workflow

from flows import Sequence

# What touches the world is imported once, not for each run in the sandbox.
with workflow.unsafe.imports_passed_through():
    from examples.release.operations import (
        CheckHealth,
        ReservePort,
        StartService,
        StopService,
        SwitchTraffic,
        UnpackRelease,
        check_health,
        reserve_port,
        start_service,
        stop_service,
        switch_traffic,
        unpack_release,
    )


class RolloutSpec(BaseModel):
    """Which release of the store to roll out."""

    version: str


class Rolled(BaseModel):
    """The service that has the traffic now, and the one that had it before."""

    version: str
    service: str
    port: int
    previous: str | None


class Rollout(Sequence[RolloutSpec, Rolled], id="rollout", version="1.0.0"):
    """Roll out one release: start it beside the old one, switch traffic when it is well, stop the old one."""

    async def run(self, input: RolloutSpec) -> Rolled:
        """Roll out the release; everything is undone if a step fails."""
        port = await self.execute(reserve_port, ReservePort(version=input.version))
        release = await self.execute(unpack_release, UnpackRelease(version=input.version))
        service = await self.execute(
            start_service, StartService(folder=release.output.folder, port=port.output.number)
        )
        await self.execute(check_health, CheckHealth(port=port.output.number))
        switched = await self.execute(switch_traffic, SwitchTraffic(service=service.output.id))
        previous = switched.output.previous
        if previous is not None:
            await self.execute(stop_service, StopService(service=previous))
        return Rolled(
            version=input.version, service=service.output.id, port=service.output.port, previous=previous
        )

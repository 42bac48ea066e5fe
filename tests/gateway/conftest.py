"""Fixtures: a gateway on the session's Temporal, on ports of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from google.longrunning.operations_pb2_grpc import OperationsStub
from temporalio.client import Client

from activities import Registry
from counterstep.gateway import Gateway, GatewaySettings, gateway
from tests.conftest import Serve
from tests.gateway.flows import EVERYTHING


@dataclass(frozen=True)
class Served:
    """A gateway that serves, with what a test talks to."""

    client: Client
    gateway: Gateway
    channel: grpc.aio.Channel
    stub: Any
    http: httpx.AsyncClient
    task_queue: str

    @property
    def address(self) -> str:
        """Host and port of gRPC."""
        assert self.gateway.grpc is not None
        return self.gateway.grpc

    @property
    def url(self) -> str:
        """URL of HTTP."""
        assert self.gateway.http is not None
        return self.gateway.http

    async def start(self, flow: str, input: Any, id: str, **options: Any) -> Any:
        """Start a flow as anybody may."""
        return await self.client.start_workflow(flow, input, id=id, task_queue=self.task_queue, **options)


@asynccontextmanager
async def facing(
    client: Client, task_queue: str, registry: Registry | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Put a gateway before a Temporal, and clients before the gateway."""
    made = GatewaySettings(
        **{"listen": "127.0.0.1:0", "http": "127.0.0.1:0", "task_queue": task_queue, **settings}
    )
    async with (
        gateway(client, made, registry) as served,
        grpc.aio.insecure_channel(str(served.grpc)) as channel,
        httpx.AsyncClient(base_url=str(served.http), timeout=30) as http,
    ):
        yield Served(client, served, channel, OperationsStub(channel), http, task_queue)


Gate = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def gate(serve: Serve, task_queue: str) -> Gate:
    """Serve the test's flows with a worker, and a gateway before them: ``async with gate() as served``."""

    @asynccontextmanager
    async def served(**settings: Any) -> AsyncIterator[Served]:
        async with (
            serve(*EVERYTHING) as client,
            facing(client, task_queue, Registry(*EVERYTHING), **settings) as g,
        ):
            yield g

    return served


@pytest.fixture
def unworked(dev_address: str, task_queue: str) -> Gate:
    """Put a gateway before Temporal, and no worker anywhere."""

    @asynccontextmanager
    async def served(**settings: Any) -> AsyncIterator[Served]:
        client = await Client.connect(dev_address)
        async with facing(client, task_queue, Registry(*EVERYTHING), **settings) as g:
            yield g

    return served

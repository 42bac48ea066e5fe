"""Everything a Temporal client and worker need to run our definitions, as one plugin."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import VersioningBehavior
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter, PayloadConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import ReplayerConfig, WorkerConfig

from activities import (
    CounterstepError,
    DefinitionError,
    EnvironmentSecrets,
    InvalidInput,
    Registry,
    SecretSource,
)
from activities._failure import describe
from activities._pulse import TOLD_OF_CANCEL
from activities._run import Host, activities_for
from counterstep.reports import RunExporter
from flows._dispatcher import Claim, Dispatcher, UpgradingDispatcher
from flows._interceptor import StepInterceptor
from flows._sandbox import with_passthrough
from flows._services import Services
from flows._traces import ShortTraces, told
from flows._undo_services import UndoServices
from flows._undoing import Undo, Undoing
from flows._wait_services import WaitServices

_SDK_THROTTLE = timedelta(seconds=60)
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


class CounterstepPlugin(SimplePlugin):
    """Runs operations and flows on somebody's own ``Client`` and ``Worker``; give it to the client.

    ``Client.connect(..., plugins=[CounterstepPlugin(registry, deps=cloud)])``, then any ``Worker`` of that
    client serves the registry.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        deps: Any = None,
        lifespan: Lifespan | None = None,
        secrets: SecretSource | None = None,
        data_converter: DataConverter | None = None,
        heartbeat_timeout: timedelta = timedelta(seconds=30),
        max_threads: int = 100,
        spans: SpanExporter | None = None,
    ) -> None:
        """Make the plugin.

        Args:
            registry: what is served.
            deps: the operations' dependencies: one object, or ``{type: object}``.
            lifespan: yields them instead, around the worker's life.
            secrets: where ``ctx.secret`` looks; environment variables unless given.
            data_converter: instead of the client's own; ours converts with pydantic.
            heartbeat_timeout: after which silence a remote execution counts as lost.
            max_threads: how many ``def`` handlers run at once.
            spans: where the spans of the runs go that begin and close here, if anywhere.
        """
        self._registry = registry
        self._lifespan = lifespan
        self._deps = deps
        self._secrets = secrets or EnvironmentSecrets()
        self._threads = max_threads
        self._host: Host | None = None
        self._workers = 0
        self._entering = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._waits = WaitServices(self._current)
        self._spans = RunExporter(spans) if spans else None
        self._client: Client | None = None
        super().__init__(
            "counterstep",
            data_converter=lambda given: _guarded(data_converter or given),
            interceptors=[StepInterceptor(heartbeat_timeout, self._spans)],
            activities=self._activities(),
            workflows=[*(flow for flow in registry.flows() if isinstance(flow, type)), Claim, Undo, Undoing],
            workflow_runner=with_passthrough,
            run_context=self._serving,
        )

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """See base class. Under worker versioning sequences are pinned, unless the worker says otherwise."""
        config = super().configure_worker(config)
        self._client = config.get("client")
        deployment = config.get("deployment_config")
        versioned = deployment is not None and deployment.use_worker_versioning
        if (
            deployment is not None
            and deployment.default_versioning_behavior is VersioningBehavior.UNSPECIFIED
            and versioned
        ):
            config["deployment_config"] = dataclasses.replace(
                deployment, default_versioning_behavior=VersioningBehavior.PINNED
            )
        if config.get("max_heartbeat_throttle_interval") == _SDK_THROTTLE:
            config["max_heartbeat_throttle_interval"] = timedelta(seconds=TOLD_OF_CANCEL)
        config["workflows"] = [*config.get("workflows", ()), UpgradingDispatcher if versioned else Dispatcher]
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """See base class."""
        config = super().configure_replayer(config)
        config["workflows"] = [*config.get("workflows", ()), Dispatcher]
        return config

    def _activities(self) -> Sequence[Callable[..., Any]]:
        operations = [
            made for op in self._registry.operations() for made in activities_for(op, self._current)
        ]
        return [
            *operations,
            *Services(self._registry).activities(),
            *UndoServices(self._registry).activities(),
            *self._waits.activities(),
        ]

    def _current(self) -> Host:
        assert self._host is not None, "activities run only while the worker does"
        return self._host

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """Provide the dependencies while any worker of this plugin runs."""
        async with self._entering:
            self._workers += 1
            if self._workers == 1:
                await self._enter()
        try:
            yield
        finally:
            async with self._entering:
                self._workers -= 1
                if self._workers == 0:
                    await self._stack.aclose()

    async def _enter(self) -> None:
        executor = ThreadPoolExecutor(self._threads, thread_name_prefix="operation")
        self._stack.callback(executor.shutdown, wait=False, cancel_futures=True)
        self._stack.callback(self._waits.close)
        try:
            self._host = Host(await self._entered(), self._secrets, executor)
            _check_deps(self._registry, self._host)
            if self._spans is not None and self._client is not None:
                await self._stack.enter_async_context(self._spans.serving(self._client))
        except BaseException:
            self._workers = 0
            await self._stack.aclose()
            raise

    async def _entered(self) -> Any:
        if self._lifespan is None:
            return self._deps
        try:
            return await self._stack.enter_async_context(self._lifespan())
        except Exception as error:
            raise CounterstepError(f"lifespan failed, so nothing is served:\n{told(error)}") from error


def _check_deps(registry: Registry, host: Host) -> None:
    wanted = (
        (op.definition, op.deps_type) for op in registry.operations() if op.deps_type not in (Any, type(None))
    )
    gaps = [f"{definition} wants {type_}" for definition, type_ in wanted if host.deps_for(type_) is None]
    if gaps and isinstance(host.deps, dict):
        raise DefinitionError(f"lifespan yields no dependency for: {'; '.join(gaps)}")


class _Guard(PayloadConverter):
    """A payload converter whose errors fail the run instead of hanging it: bad input is nobody's bug."""

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        try:
            return super().from_payloads(payloads, type_hints)  # type: ignore[safe-super]
        except ValidationError as error:
            raise InvalidInput(f"the value doesn't fit: {describe(error)}") from None
        except Exception as error:
            kinds = sorted(
                {p.metadata.get("encoding", b"?").decode(errors="replace")[:100] for p in payloads}
            )
            raise InvalidInput(
                f"can't read values encoded as {', '.join(kinds)}: {type(error).__name__}"
            ) from None


class _GuardedPydantic(_Guard, PydanticPayloadConverter):
    pass


def _guarded(given: DataConverter | None) -> DataConverter:
    """Convert with pydantic unless the client has a converter of its own, whose codec stays."""
    given = given or DataConverter.default
    known = given.payload_converter_class
    if issubclass(known, _Guard):
        return given
    if given.failure_converter_class is DataConverter.default.failure_converter_class:
        given = dataclasses.replace(given, failure_converter_class=ShortTraces)
    if known in (DataConverter.default.payload_converter_class, PydanticPayloadConverter):
        return dataclasses.replace(given, payload_converter_class=_GuardedPydantic)
    return dataclasses.replace(
        given, payload_converter_class=type(f"Guarded{known.__name__}", (_Guard, known), {})
    )

"""What a handler is given beside its input."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from activities._definition import Definition
from activities._errors import NotSerializable
from activities._failure import Failure
from activities._json import Json, size
from activities._notes import Metadata, Notes
from activities._schema import Schema
from activities._secrets import EnvironmentSecrets, SecretRef, SecretSource, resolve

Deps = TypeVar("Deps")
SAVE_LIMIT = 64 * 1024
_ANY: Schema[Any] = Schema(Any)


class Memory:
    """Keeps what was saved in memory, where there is no Temporal (plain tests)."""

    def __init__(self, saved: Json = None) -> None:
        """Begin with what an earlier attempt saved."""
        self.saved = saved
        self.notes = Notes()

    async def save(self, data: Json) -> None:
        """Replace what is saved."""
        self.saved = data

    def save_sync(self, data: Json) -> None:
        """Replace what is saved."""
        self.saved = data


@dataclass(frozen=True)
class Context(Generic[Deps]):
    """What a handler is given beside its input.

    Attributes:
        deps: the dependencies that the worker's module provides.
        definition: of the operation that runs.
        step: the step's name in its flow, with its path.
        workflow_id: the run's workflow id.
        attempt: from 1; a lost execution counts too.
        idempotency_key: the same for every attempt, replay, reset and for the undo; hand it to the system
            that the effect happens in.
        logger: knows run and step.
        cancelled: whether the run asks the handler to end; only of use to ``def`` handlers, which nothing
            interrupts.
    """

    deps: Deps
    definition: Definition
    step: str
    workflow_id: str
    attempt: int
    idempotency_key: str
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(repr=False)
    cancelled: Callable[[], bool] = field(repr=False)
    _kept: Any = field(repr=False)
    _secrets: SecretSource = field(repr=False)
    _wait: Callable[[Awaitable[Any]], Any] = field(repr=False)

    @classmethod
    def of(
        cls,
        deps: Deps,
        *,
        step: str = "step",
        attempt: int = 1,
        idempotency_key: str = "key",
        saved: Json = None,
        secrets: SecretSource | None = None,
    ) -> Context[Deps]:
        """Make a context for a plain test, without Temporal."""
        return cls(
            deps=deps,
            definition=Definition("test", "0.0.0"),
            step=step,
            workflow_id="test",
            attempt=attempt,
            idempotency_key=idempotency_key,
            logger=logging.getLogger("counterstep.operation"),
            cancelled=lambda: False,
            _kept=Memory(saved),
            _secrets=secrets or EnvironmentSecrets(),
            _wait=_run,
        )

    @property
    def saved(self) -> Json:
        """What was saved last, by this attempt or an earlier one; ``None`` if nothing was."""
        return self._kept.saved

    @property
    def metadata(self) -> Metadata:
        """Named bytes for the step's report (seed automa): ``ctx.metadata["checksum"] = b"…"``.

        They are in the report once the step, or its undo, has ended; nothing else reads them.
        """
        metadata: Metadata = self._kept.notes.metadata
        return metadata

    def note_error(self, error: BaseException) -> None:
        """Add an error that the handler dealt with to the step's report; the same one twice is one."""
        self._kept.notes.error(error, str(Failure.of(error)))

    async def save(self, data: Any) -> None:
        """Keep data for later attempts and for the undo; durable when it returns (seed actions: job data).

        Args:
            data: anything JSON can hold, at most 64 KB; replaces what was saved before.

        Raises:
            NotSerializable: when JSON can't hold it, or it is too large.
        """
        await self._kept.save(self._savable(data))

    def save_sync(self, data: Any) -> None:
        """Do what :meth:`save` does, from a ``def`` handler."""
        self._kept.save_sync(self._savable(data))

    async def secret(self, ref: SecretRef) -> str:
        """Give a secret's value.

        Raises:
            Unrecoverable: when this worker doesn't know it.
        """
        return await resolve(self._secrets, ref)

    def secret_sync(self, ref: SecretRef) -> str:
        """Do what :meth:`secret` does, from a ``def`` handler."""
        value: str = self._wait(self.secret(ref))
        return value

    def _savable(self, data: Any) -> Json:
        dumped = _ANY.dump(data, f"{self.step}: saved data")
        if size(dumped) > SAVE_LIMIT:
            raise NotSerializable(
                f"{self.step}: saved data has {size(dumped)} bytes, {SAVE_LIMIT} are allowed"
            )
        return dumped


def _run(awaitable: Awaitable[Any]) -> Any:
    """Wait for something in a plain test, in a thread of its own: the test's may have a running loop."""

    async def wait() -> Any:
        return await awaitable

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, wait()).result()

"""What the operator's commands share: the Temporal CLI's connection flags, and one line for what went wrong."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import CounterstepError, Failure, Registry
from counterstep.serving import CodecError, ConnectionFlags, StartError, takes_flags
from flows import Module, load_modules
from worker import Settings, connect

_Modules = Annotated[
    list[str] | None,
    typer.Option("--module", help="A module whose data_converter decodes what it encoded; repeatable."),
]


@dataclass(frozen=True)
class Connection:
    """How a command connects.

    Attributes:
        flags: as of the Temporal CLI.
        modules: whose data converter decodes what is shown.
    """

    flags: ConnectionFlags
    modules: tuple[str, ...] = ()

    async def client(self) -> Client:
        """Connect.

        Raises:
            StartError: when Temporal isn't there.
            CounterstepError: when a module can't be loaded.
        """
        module = load_modules(self.modules) if self.modules else Module(Registry())
        return await connect(Settings(self.modules, connection=self.flags), module)


class Refused(Exception):
    """A command can't do what was asked; the message says why."""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command its connection, as its first argument, and say what went wrong on stderr, without a trace."""

    @functools.wraps(function)
    def call(flags: ConnectionFlags, module: list[str] | None, **given: Any) -> None:
        try:
            function(Connection(flags, tuple(module or ())), **given)
        except (Refused, StartError, CodecError, CounterstepError, RPCError) as error:
            typer.echo(f"counterstep {function.__name__}: {told(error)}", err=True)
            raise typer.Exit(1) from None

    first, *own = inspect.signature(function, eval_str=True).parameters.values()
    kind = inspect.Parameter.KEYWORD_ONLY
    modules = inspect.Parameter("module", kind, default=None, annotation=_Modules)
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [first, *(one.replace(kind=kind) for one in own), modules]
    )
    return takes_flags(call)


def missing(error: RPCError, workflow_id: str, run_id: str | None) -> BaseException:
    """Say that a run, or the whole namespace, isn't there, if that is what an error means."""
    for detail in error.grpc_status.details:
        if detail.Unpack(absent := NamespaceNotFoundFailure()):
            return Refused(f"there is no namespace {absent.namespace!r}")
    if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
        run = f"run {run_id}" if run_id else "run"
        return Refused(f"there is no {run} of {workflow_id!r}")
    return error


def unreadable(workflow_id: str, run_id: str | None, error: BaseException) -> str:
    """Say that what a run's history holds can't be read, in one line."""
    return f"{workflow_id} (run {run_id}): can't be read: {Failure.of(error)}".partition("\n")[0]


def told(error: Exception) -> str:
    if isinstance(error, RPCError):
        return f"Temporal refused: {error.message} ({error.status.name})"
    return str(getattr(error, "message", error))

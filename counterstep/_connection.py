"""What the operator's commands share: the Temporal CLI's connection flags, and one line for what went wrong."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from activities import CounterstepError, Registry
from counterstep.serving import StartError
from flows import Module, load_modules
from worker import Settings, connect

_GROUP = "Connection, as of the Temporal CLI"


def _option(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_GROUP)


@dataclass(frozen=True)
class Connection:
    """The flags of every command that connects. Environment variables and ``temporal.toml`` count as for the CLI."""

    address: Annotated[str | None, _option("Temporal's host and port.")] = None
    namespace: Annotated[str | None, _option("Temporal's namespace.", "--namespace", "-n")] = None
    profile: Annotated[str | None, _option("A profile of temporal.toml.")] = None
    config_file: Annotated[str | None, _option("Instead of the temporal.toml that is found.")] = None
    api_key: Annotated[str | None, _option("An API key.")] = None
    tls: Annotated[bool, _option("Use TLS.", "--tls")] = False
    tls_ca_path: Annotated[Path | None, _option("The server's CA certificate.")] = None
    tls_cert_path: Annotated[Path | None, _option("The client's certificate.")] = None
    tls_key_path: Annotated[Path | None, _option("The client's key.")] = None
    tls_server_name: Annotated[str | None, _option("Instead of the name in the address.")] = None
    module: Annotated[
        list[str] | None, _option("A module whose data_converter decodes what it encoded; repeatable.")
    ] = field(default=None)

    async def client(self) -> Client:
        """Connect.

        Raises:
            StartError: when Temporal isn't there.
            CounterstepError: when a module can't be loaded.
        """
        module = load_modules(tuple(self.module)) if self.module else Module(Registry())
        settings = Settings(
            tuple(self.module or ()),
            address=self.address,
            namespace=self.namespace,
            profile=self.profile,
            config_file=self.config_file,
            more=self._more(),
        )
        return await connect(settings, module)

    def _more(self) -> dict[str, Any]:
        files = (self.tls_ca_path, self.tls_cert_path, self.tls_key_path)
        more: dict[str, Any] = {"api_key": self.api_key} if self.api_key else {}
        if not (self.tls or self.tls_server_name or any(files)):
            return more
        ca, cert, key = (None if file is None else _read(file) for file in files)
        tls = TLSConfig(
            server_root_ca_cert=ca, client_cert=cert, client_private_key=key, domain=self.tls_server_name
        )
        return {**more, "tls": tls}


class Refused(Exception):
    """A command can't do what was asked; the message says why."""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the connection's flags, as its first argument, and one line on whatever goes wrong."""
    shared = list(inspect.signature(Connection, eval_str=True).parameters.values())
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    @functools.wraps(function)
    def call(**given: Any) -> None:
        connection = Connection(**{flag.name: given.pop(flag.name) for flag in shared})
        try:
            function(connection, **given)
        except (Refused, StartError, CounterstepError, RPCError) as error:
            typer.echo(f"counterstep {function.__name__}: {_told(error)}", err=True)
            raise typer.Exit(1) from None

    parameters = [flag.replace(kind=inspect.Parameter.KEYWORD_ONLY) for flag in (*own, *shared)]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {flag.name: flag.annotation for flag in parameters}
    return call


def missing(error: RPCError, workflow_id: str, run_id: str | None) -> BaseException:
    """Say that a run isn't there, if that is what an error means."""
    if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
        run = f"run {run_id}" if run_id else "run"
        return Refused(f"there is no {run} of {workflow_id!r}")
    return error


def _told(error: Exception) -> str:
    if isinstance(error, RPCError):
        return f"Temporal refused: {error.message} ({error.status.name})"
    return str(getattr(error, "message", error))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Refused(f"can't read {file}: {error.strerror}") from None

"""What the operator's commands share: the Temporal CLI's connection flags, and one line for what went wrong."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from activities import CounterstepError, Registry
from counterstep._remote_codec import CodecError, RemoteCodec
from counterstep.serving import StartError
from flows import Module, load_modules
from worker import Settings, connect, namespace_of

_GROUP = "Connection, as of the Temporal CLI"


def _option(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_GROUP)


def _codec(help: str, name: str) -> Any:
    return typer.Option(help=help, envvar=f"TEMPORAL_CODEC_{name}", rich_help_panel=_GROUP)


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
    tls_ca_data: Annotated[str | None, _option("The server's CA certificate itself, PEM.")] = None
    tls_cert_data: Annotated[str | None, _option("The client's certificate itself, PEM.")] = None
    tls_key_data: Annotated[str | None, _option("The client's key itself, PEM.")] = None
    tls_server_name: Annotated[str | None, _option("Instead of the name in the address.")] = None
    grpc_meta: Annotated[list[str] | None, _option("A header of each request, KEY=VALUE; repeatable.")] = (
        field(default=None)
    )
    identity: Annotated[str | None, _option("Who asks, in histories.")] = None
    codec_endpoint: Annotated[
        str | None, _codec("A codec server's URL; {namespace} in it is filled in.", "ENDPOINT")
    ] = None
    codec_auth: Annotated[str | None, _codec("Its Authorization header.", "AUTH")] = None
    codec_header: Annotated[list[str] | None, _option("A header for it, KEY=VALUE; repeatable.")] = field(
        default=None
    )
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
        if self.codec_endpoint:
            module = replace(module, data_converter=self._decoding(module, namespace_of(settings)))
        return await connect(settings, module)

    def _decoding(self, module: Module, namespace: str) -> DataConverter:
        """Give the module's converter, or the usual one, with the codec server instead of its codec."""
        headers = {**_pairs(self.codec_header, "--codec-header")}
        headers |= {"Authorization": self.codec_auth} if self.codec_auth else {}
        codec = RemoteCodec(str(self.codec_endpoint), namespace, headers)
        return replace(module.data_converter or DataConverter.default, payload_codec=codec)

    def _more(self) -> dict[str, Any]:
        more: dict[str, Any] = {"api_key": self.api_key} if self.api_key else {}
        more |= {"identity": self.identity} if self.identity else {}
        more |= {"rpc_metadata": _pairs(self.grpc_meta, "--grpc-meta")} if self.grpc_meta else {}
        ca = _given("--tls-ca", self.tls_ca_path, self.tls_ca_data)
        cert = _given("--tls-cert", self.tls_cert_path, self.tls_cert_data)
        key = _given("--tls-key", self.tls_key_path, self.tls_key_data)
        if not (self.tls or self.tls_server_name or ca or cert or key):
            return more
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
        except (Refused, StartError, CodecError, CounterstepError, RPCError) as error:
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


def _pairs(given: list[str] | None, flag: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := next((key for key, equals, _ in pairs if not (key and equals)), None):
        raise Refused(f"{flag}: {wrong!r} isn't KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _given(flag: str, file: Path | None, data: str | None) -> bytes | None:
    """Give what a file or a flag holds."""
    if file is not None and data is not None:
        raise Refused(f"{flag}-path and {flag}-data exclude each other")
    return data.encode() if data is not None else None if file is None else _read(file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Refused(f"can't read {file}: {error.strerror}") from None

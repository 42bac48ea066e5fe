"""The Temporal CLI's connection flags, in one place: every command of ours that connects takes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

_GROUP = "Connection, as of the Temporal CLI"


def _option(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_GROUP)


@dataclass(frozen=True)
class ConnectionFlags:
    """What is given on the command line; :func:`connect_config` says what else counts, and what wins."""

    address: Annotated[str | None, _option("Temporal's host and port.")] = None
    namespace: Annotated[str | None, _option("Temporal's namespace.", "--namespace", "-n")] = None
    profile: Annotated[str | None, _option("A profile of temporal.toml.")] = None
    config_file: Annotated[str | None, _option("Instead of the temporal.toml that is found.")] = None
    disable_config_file: Annotated[bool, _option("Read no temporal.toml.", "--disable-config-file")] = False
    disable_config_env: Annotated[bool, _option("Heed no environment variables.", "--disable-config-env")] = (
        False
    )
    env: Annotated[str | None, _option("An environment of temporal env.")] = None
    env_file: Annotated[str | None, _option("Instead of the temporal.yaml that has those.")] = None
    client_connect_timeout: Annotated[
        str | None, _option("How long connecting may take, such as 5s or 1m30s.")
    ] = None
    api_key: Annotated[str | None, _option("An API key.")] = None
    tls: Annotated[bool, _option("Use TLS.", "--tls")] = False
    tls_ca_path: Annotated[str | None, _option("The server's CA certificate.")] = None
    tls_cert_path: Annotated[str | None, _option("The client's certificate.")] = None
    tls_key_path: Annotated[str | None, _option("The client's key.")] = None
    tls_ca_data: Annotated[str | None, _option("The server's CA certificate itself, PEM.")] = None
    tls_cert_data: Annotated[str | None, _option("The client's certificate itself, PEM.")] = None
    tls_key_data: Annotated[str | None, _option("The client's key itself, PEM.")] = None
    tls_server_name: Annotated[str | None, _option("Instead of the name in the address.")] = None
    tls_disable_host_verification: Annotated[
        bool, _option("Refused: it can't be done here.", "--tls-disable-host-verification")
    ] = False
    client_authority: Annotated[str | None, _option("Refused: it can't be done here.")] = None
    grpc_meta: Annotated[list[str] | None, _option("A header of each request, KEY=VALUE; repeatable.")] = (
        field(default=None)
    )
    identity: Annotated[str | None, _option("Who asks, in histories.")] = None
    codec_endpoint: Annotated[
        str | None, _option("A codec server's URL; {namespace} in it is filled in.")
    ] = None
    codec_auth: Annotated[str | None, _option("Its Authorization header.")] = None
    codec_header: Annotated[list[str] | None, _option("A header for it, KEY=VALUE; repeatable.")] = field(
        default=None
    )


def takes_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the connection's flags; it gets them as its first argument."""
    shared = list(inspect.signature(ConnectionFlags, eval_str=True).parameters.values())
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        flags = ConnectionFlags(**{flag.name: given.pop(flag.name) for flag in shared})
        return function(flags, **given)

    parameters = [flag.replace(kind=inspect.Parameter.KEYWORD_ONLY) for flag in (*own, *shared)]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {flag.name: flag.annotation for flag in parameters}
    return call

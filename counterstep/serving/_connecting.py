"""How a command of ours connects: by the Temporal CLI's flags, environments, variables and profiles."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.service import TLSConfig

from counterstep.serving._config_files import codec_of_profile, in_environment
from counterstep.serving._errors import StartError
from counterstep.serving._flags import ConnectionFlags
from counterstep.serving._remote_codec import RemoteCodec

ADDRESS = "localhost:7233"
"""Where Temporal is unless anything says otherwise."""

_UNITS = {"h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}


def connect_config(given: ConnectionFlags) -> dict[str, Any]:
    """Give the arguments of ``Client.connect``.

    As for the Temporal CLI, flags win over an environment of ``temporal env``, that over environment variables, and those over a
    profile of ``temporal.toml``.

    Raises:
        StartError: when something of that can't be read, doesn't fit, or can't be done by Temporal's Python SDK.
    """
    flags = in_environment(given)
    _refuse(flags)
    config = _of_profile(flags)
    config.setdefault("target_host", ADDRESS)
    meta = {**config.get("rpc_metadata", {}), **_pairs(flags.grpc_meta, "--grpc-meta")}
    values = {
        "target_host": flags.address,
        "namespace": flags.namespace,
        "api_key": flags.api_key,
        "identity": flags.identity,
        "connect_timeout": _duration(flags.client_connect_timeout),
        "rpc_metadata": meta,
        "tls": _tls(flags, config.get("tls")),
    }
    return config | {key: value for key, value in values.items() if value}


def decoding(given: ConnectionFlags, converter: DataConverter | None) -> DataConverter | None:
    """Give a converter, with the codec server that is asked for as its codec.

    One on the command line wins over the converter's own codec; one in the environment or profile doesn't.

    Args:
        given: the flags.
        converter: of the modules, if they have one.

    Raises:
        StartError: as :func:`connect_config`.
    """
    flags = in_environment(given)
    endpoint, auth = _codec(flags)
    own = converter is not None and converter.payload_codec is not None
    if not endpoint or (own and not given.codec_endpoint):
        return converter
    headers = _pairs(flags.codec_header, "--codec-header") | ({"Authorization": auth} if auth else {})
    codec = RemoteCodec(endpoint, str(connect_config(given).get("namespace", "default")), headers)
    return replace(converter or DataConverter.default, payload_codec=codec)


def _codec(flags: ConnectionFlags) -> tuple[str | None, str | None]:
    """Give a codec server and its authorization."""
    variables: Mapping[str, str] = {} if flags.disable_config_env else os.environ
    profile = {} if flags.disable_config_file else codec_of_profile(*_where(flags))
    endpoint = flags.codec_endpoint or variables.get("TEMPORAL_CODEC_ENDPOINT") or profile.get("endpoint")
    return endpoint, flags.codec_auth or variables.get("TEMPORAL_CODEC_AUTH") or profile.get("auth")


def _where(flags: ConnectionFlags) -> tuple[str | None, str | None]:
    """Give file and profile; their variables count whatever is disabled, as for the CLI."""
    file = flags.config_file or os.environ.get("TEMPORAL_CONFIG_FILE") or None
    return file, flags.profile or os.environ.get("TEMPORAL_PROFILE") or None


def _of_profile(flags: ConnectionFlags) -> dict[str, Any]:
    no_file, no_env = flags.disable_config_file, flags.disable_config_env
    if no_file and no_env:
        return {}
    file, profile = _where(flags)
    try:
        return dict(
            ClientConfig.load_client_connect_config(
                profile, config_file=file, disable_file=no_file, disable_env=no_env
            )
        )
    except (RuntimeError, OSError) as error:
        raise StartError(f"can't read Temporal's configuration: {error}") from error


def _refuse(flags: ConnectionFlags) -> None:
    """Refuse what Temporal's Python SDK can't do: silently left out, it would look as if it were done."""
    if flags.tls_disable_host_verification:
        raise StartError(
            "--tls-disable-host-verification: Temporal's Python SDK always verifies the server; "
            "give the name in its certificate with --tls-server-name, who signed it with --tls-ca-path"
        )
    if flags.client_authority:
        raise StartError(
            "--client-authority: Temporal's Python SDK can't set it by itself; "
            "with TLS, --tls-server-name sets it too"
        )


def _tls(flags: ConnectionFlags, known: bool | TLSConfig | None) -> bool | TLSConfig | None:
    """Put what the flags say about TLS in place of what is known, piece by piece."""
    given = {
        "server_root_ca_cert": _given("--tls-ca", flags.tls_ca_path, flags.tls_ca_data),
        "client_cert": _given("--tls-cert", flags.tls_cert_path, flags.tls_cert_data),
        "client_private_key": _given("--tls-key", flags.tls_key_path, flags.tls_key_data),
        "domain": flags.tls_server_name,
    }
    pieces: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if not (flags.tls or pieces):
        return known
    tls = replace(known if isinstance(known, TLSConfig) else TLSConfig(), **pieces)
    if (tls.client_cert is None) != (tls.client_private_key is None):
        raise StartError(
            "a client's certificate and its key belong together: --tls-cert-path, --tls-key-path"
        )
    return tls


def _given(flag: str, file: str | None, data: str | None) -> bytes | None:
    """Give what a file or a flag holds."""
    if file is not None and data is not None:
        raise StartError(f"{flag}-path and {flag}-data exclude each other")
    return data.encode() if data is not None else None if file is None else _read(file)


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise StartError(f"can't read {file}: {error.strerror}") from None


def _pairs(given: list[str] | None, flag: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := next((key for key, equals, _ in pairs if not (key and equals)), None):
        raise StartError(f"{flag}: {wrong!r} isn't KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _duration(text: str | None) -> timedelta | None:
    """Read a duration as Go has it."""
    if not text:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise StartError(f"--client-connect-timeout: {text!r} is no duration such as 5s or 1m30s")
    return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())

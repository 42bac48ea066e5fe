"""Files of the Temporal CLI that its Python SDK doesn't read, or not wholly."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from counterstep.serving._errors import StartError
from counterstep.serving._flags import ConnectionFlags

_DEFAULT = "default"


def in_environment(flags: ConnectionFlags) -> ConnectionFlags:
    """Add what an environment of ``temporal env`` has to the flags, where they leave it open.

    Raises:
        StartError: when there is no such environment, or its file can't be read.
    """
    name = flags.env or os.environ.get("TEMPORAL_ENV") or _DEFAULT
    chosen = flags.env_file or os.environ.get("TEMPORAL_ENV_FILE")
    file = Path(chosen) if chosen else Path.home() / ".config/temporalio/temporal.yaml"
    known = _environments(file)
    if name not in known and name != _DEFAULT:
        raise StartError(f"there is no environment {name!r} in {file}")
    values = {key.replace("-", "_"): value for key, value in (known.get(name) or {}).items()}
    given = {one.name: values[one.name] for one in fields(flags) if one.name in values}
    open_ = {key: value for key, value in given.items() if not getattr(flags, key)}
    return replace(flags, **{key: _typed(flags, key, value, file) for key, value in open_.items()})


def _environments(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text()) or {}
        known = found.get("env") or {}
        if any(not isinstance(values or {}, dict) for values in known.values()):
            raise TypeError("env isn't a table of tables")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise StartError(f"can't read Temporal's environments in {file}: {_line(error)}") from None
    return dict(known)


def _typed(flags: ConnectionFlags, key: str, value: Any, file: Path) -> Any:
    """Give a text of an environment as its flag has it."""
    if key in ("grpc_meta", "codec_header"):
        return [str(value)]
    if not isinstance(getattr(flags, key), bool):
        return str(value)
    if str(value).lower() not in ("true", "false", "1", "0"):
        raise StartError(f"{key.replace('_', '-')} in {file}: {value!r} is neither true nor false")
    return str(value).lower() in ("true", "1")


def codec_of_profile(file: str | None, profile: str | None) -> Mapping[str, Any]:
    """Give what ``temporal.toml`` has about a codec server.

    Raises:
        StartError: when the file can't be read.
    """
    path = Path(file) if file else _config_folder() / "temporalio/temporal.toml"
    try:
        profiles = tomllib.loads(path.read_text()).get("profile", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StartError(f"can't read Temporal's configuration: {path}: {_line(error)}") from None
    return profiles.get(profile or _DEFAULT, {}).get("codec", {})  # type: ignore[no-any-return]


def _config_folder() -> Path:
    """Give where the Temporal CLI keeps its configuration, as Go's ``os.UserConfigDir`` does."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", "."))
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())

"""Secrets by name: only the name is recorded, the worker knows the value."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import RootModel

from activities._errors import Unrecoverable


class SecretRef(RootModel[str]):
    """A field that names a secret; history holds the name, ``await ctx.secret(ref)`` gives the value."""

    model_config = {"frozen": True}

    @property
    def name(self) -> str:
        """The name."""
        return self.root


class SecretSource(Protocol):
    """Where a worker finds secrets."""

    async def get(self, name: str) -> str:
        """Give the secret's value.

        Raises:
            KeyError: when there is none of this name.
        """
        ...


@dataclass(frozen=True)
class EnvironmentSecrets:
    """Secrets in environment variables.

    Attributes:
        prefix: put before the name.
    """

    prefix: str = ""

    async def get(self, name: str) -> str:
        """See :class:`SecretSource`."""
        return os.environ[self.prefix + name]


@dataclass(frozen=True)
class FileSecrets:
    """Secrets in files of one folder, as container platforms mount them; one trailing newline is dropped."""

    folder: Path = field(default=Path("/run/secrets"))

    async def get(self, name: str) -> str:
        """See :class:`SecretSource`."""
        path = self.folder / name
        if path.parent != self.folder or not path.is_file():
            raise KeyError(name)
        return path.read_text().removesuffix("\n")


async def resolve(source: SecretSource, ref: SecretRef) -> str:
    """Ask a source for a secret.

    Raises:
        Unrecoverable: naming the secret that isn't there.
    """
    try:
        return await source.get(ref.name)
    except KeyError:
        raise Unrecoverable(
            f"secret {ref.name!r} isn't known to this worker; give it to its SecretSource"
        ) from None

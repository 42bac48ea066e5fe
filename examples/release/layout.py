"""Where things are on the machine that gets the releases.

```
store/VERSION.zip       the releases that there are
ports/KEY               reserved ports, by the key of whoever reserved it
releases/VERSION-KEY/   unpacked releases
services/ID/            services: how each was started, its lock, pid and log
switches/KEY            who had the traffic before, by the key of whoever switched it
current                 symbolic link to the service that gets the traffic
```
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
SERVICE = Path(__file__).with_name("service.py")


def write(file: Path, text: str) -> None:
    """Write a file in one step: whoever reads it sees all of it or none."""
    draft = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
    draft.write_text(text)
    os.replace(draft, file)


@dataclass(frozen=True)
class Site:
    """The machine that releases go to: one folder that holds all there is to it.

    Attributes:
        root: The folder. It is made when it isn't there.
    """

    root: Path

    @property
    def store(self) -> Path:
        """The releases that can be rolled out, as `VERSION.zip`."""
        return self._folder("store")

    @property
    def ports(self) -> Path:
        """The reserved ports: a file for each, named by its key, holding the number."""
        return self._folder("ports")

    @property
    def releases(self) -> Path:
        """The unpacked releases."""
        return self._folder("releases")

    @property
    def services(self) -> Path:
        """The services: a folder for each, named by its id."""
        return self._folder("services")

    @property
    def switches(self) -> Path:
        """Who had the traffic before: a file for each switch, named by its key, holding a service's id as JSON."""
        return self._folder("switches")

    @property
    def current(self) -> Path:
        """The link to the service that gets the traffic. It isn't there before the first rollout."""
        return self.root / "current"

    def archive(self, version: str) -> Path:
        """The release `version` in the store, whether it is there or not."""
        return self.store / f"{version}.zip"

    def publish(self, version: str, *, healthy: bool = True) -> Path:
        """Build a release of the service and put it into the store.

        Args:
            version: What the service will say at `/`.
            healthy: `False` builds a broken release, whose health check answers 503.
        """
        archive = self.archive(version)
        with zipfile.ZipFile(archive, "w") as file:
            file.write(SERVICE, SERVICE.name)
            file.writestr("release.json", json.dumps({"version": version, "healthy": healthy}))
        return archive

    def serving(self) -> str | None:
        """The id of the service that gets the traffic; `None` before the first rollout."""
        return self.current.readlink().name if self.current.is_symlink() else None

    def point(self, service: str | None) -> None:
        """Let `service` have the traffic, in one step never seen half done; `None` removes the link."""
        if service is None:
            self.current.unlink(missing_ok=True)
            return
        link = self.root / f".current-{uuid.uuid4().hex}"
        link.symlink_to(Path("services") / service)
        os.replace(link, self.current)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads and processes out of the port table meanwhile; a crash lets go of it."""
        with (self.root / ".ports.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

"""The small HTTP service that gets released: `/` says its version, `/healthz` whether it is well.

It is packed into every release and runs from there, so it needs nothing but the standard library.

    python service.py --home DIR --port PORT

starts it as a process of its own, and returns once it accepts connections. For as long as it lives, the
process holds an exclusive lock on `DIR/lock`. So whoever can't get that lock knows that it runs (a pid in a
file may meanwhile be somebody else's, a lock can't), and a second start in the same folder does nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TextIO

HOST = "127.0.0.1"
RELEASE = Path(__file__).with_name("release.json")


class Handler(BaseHTTPRequestHandler):
    """Answers `/` and `/healthz`."""

    release: dict[str, object]

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/":
            self._answer(200, {"version": self.release["version"]})
        elif self.path == "/healthz":
            healthy = bool(self.release["healthy"])
            self._answer(200 if healthy else 503, {"healthy": healthy})
        else:
            self._answer(404, {"error": f"nothing at {self.path}: try / or /healthz"})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def take(lock: Path) -> TextIO | None:
    """Lock the service's folder; `None` when a service runs from it already.

    Whoever only looks holds the lock for a moment, so one refusal says nothing.
    """
    file = lock.open("a")
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            time.sleep(0.05)
    return None


def detach(home: Path) -> None:
    """Go on as a process of its own; the caller's process ends once that one has written down its pid."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.setsid()
    os.chdir("/")
    log = os.open(home / "service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(stream, target)
    (home / ".pid").write_text(str(os.getpid()))
    os.replace(home / ".pid", home / "pid")
    os.write(writer, b"1")
    os.close(writer)


def main() -> int:
    """Start the service, unless it runs already.

    Returns:
        0 when it runs; 1, with the reason on stderr, when it can't.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    lock = take(options.home / "lock")
    if lock is None:
        return 0
    (options.home / "pid").unlink(missing_ok=True)
    Handler.release = json.loads(RELEASE.read_text())
    return serve(options.home, options.port)


def serve(home: Path, port: int) -> int:
    """Serve until the process is ended; 1 when the port isn't to be had."""
    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        print(f"can't serve on {HOST}:{port}: {error.strerror}", file=sys.stderr)
        return 1
    detach(home)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

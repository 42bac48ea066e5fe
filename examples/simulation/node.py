"""The processes of a simulation: its world, its robots, its recorder. Needs nothing but the standard library.

    python node.py world|robot|recorder --home DIR --key FILE [--world FILE] [--port FILE] [--name NAME]

For as long as it lives, the process holds an exclusive lock on `DIR/lock`: whoever can't get that lock knows that it
runs. It writes `DIR/ready` once it does its work; a world writes its port there.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TextIO

HOST = "127.0.0.1"
STEP_SECONDS = 0.02


class World(BaseHTTPRequestHandler):
    """Answers `GET /` with where the robots are, and lets robots that know the key move."""

    size = 0
    key = ""
    robots: dict[str, int] = {}  # noqa: RUF012 - one for the process, which is one world

    def do_GET(self) -> None:
        """Say where everybody is."""
        self._answer(200, {"size": self.size, "robots": self.robots})

    def do_POST(self) -> None:
        """Move a robot by one; it joins with its first move."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["key"] != self.key:
            self._answer(403, {"error": "that isn't this world's key"})
            return
        self.robots[asked["name"]] = (self.robots.get(asked["name"], -1) + 1) % self.size
        self._answer(200, {"position": self.robots[asked["name"]]})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests that went well."""

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def world(options: argparse.Namespace) -> None:
    """Run the world that the file describes."""
    described = json.loads(options.world.read_text())
    if described["size"] < 1:
        sys.exit(f"a world of size {described['size']} has no room")
    World.size, World.key = described["size"], options.key.read_text()
    server = ThreadingHTTPServer((HOST, 0), World)
    ready(options.home, str(server.server_address[1]))
    server.serve_forever()


def robot(options: argparse.Namespace) -> None:
    """Move for as long as its folder is there; a faulty one doesn't start, a tired one never moves."""
    if options.name.startswith("faulty"):
        sys.exit(f"{options.name} has no wheels")
    ready(options.home, options.name)
    if options.name.startswith("tired"):
        sys.exit(f"{options.name} sleeps")
    body = json.dumps({"name": options.name, "key": options.key.read_text()}).encode()
    while options.home.exists():
        ask(options.port, body)
        time.sleep(STEP_SECONDS)


def recorder(options: argparse.Namespace) -> None:
    """Write down where everybody is, for as long as its folder is there."""
    with (options.home / "record.jsonl").open("a") as record:
        ready(options.home, "recorder")
        while options.home.exists():
            answer = ask(options.port)
            if answer is not None:
                record.write(json.dumps(answer) + "\n")
                record.flush()
            time.sleep(STEP_SECONDS)


def ask(port: Path, body: bytes | None = None) -> Any:
    """Ask the world; `None` while it can't be reached: what lives in it waits for it."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port.read_text()}/", body, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        raise
    except OSError:
        return None


def ready(home: Path, text: str) -> None:
    """Say that the work begins."""
    write(home / "pid", str(os.getpid()))
    write(home / "ready", text)


def write(file: Path, text: str) -> None:
    """Write a file that is there as a whole, or not at all."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(text)
    os.replace(draft, file)


def take(lock: Path) -> TextIO | None:
    """Lock the folder; `None` when a process works in it already. Whoever only looks holds it for a moment."""
    file = lock.open("a")
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            time.sleep(0.05)
    return None


def main() -> None:
    """Do one of the three, unless another process does it in this folder already."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("world", "robot", "recorder"))
    for option in ("--home", "--key", "--world", "--port"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    lock = take(options.home / "lock")
    if lock is not None:
        for stale in ("pid", "ready"):
            (options.home / stale).unlink(missing_ok=True)
        {"world": world, "robot": robot, "recorder": recorder}[options.role](options)


if __name__ == "__main__":
    main()

"""Headless Chromium for tests, spoken to over its debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY_NOT = "chromium isn't installed (on Debian and Ubuntu: apt-get install chromium)"


class Browser:
    """One tab."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._count, self._rest = 0, b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def open(
        self, file: Path, fragment: str = "", width: int = 1400, height: int = 900, dark: bool = False
    ) -> None:
        """Open a file and wait until it is loaded and has been painted."""
        loaded = "document.readyState === 'complete' && !!document.querySelector('#head')"
        self.visit(f"{file.as_uri()}{fragment}", loaded, width, height, dark)

    def visit(self, url: str, until: str, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Open an address and wait until a script says that it is there, and it has been painted."""
        if self._session is None:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.until(until)
        self.settle()

    def until(self, script: str, timeout: float = 60) -> None:
        """Wait until a script gives something that is true."""
        deadline = time.monotonic() + timeout
        while not self.run(script):
            assert time.monotonic() < deadline, f"never came true: {script}\n{self.text()[:5000]}"
            time.sleep(0.05)

    def text(self) -> str:
        """Give what the page and the frames in it show, as text."""
        return "\n".join(
            self._text(tree["frame"]["id"]) for tree in _frames(self.call("Page.getFrameTree")["frameTree"])
        )

    def _text(self, frame: str) -> str:
        script = "document.body ? document.body.innerText : ''"
        try:
            world = self.call("Page.createIsolatedWorld", frameId=frame)["executionContextId"]
            answer = self.call("Runtime.evaluate", expression=script, contextId=world, returnByValue=True)
        except AssertionError:  # the frame has gone meanwhile
            return ""
        return str(answer["result"].get("value"))

    def settle(self) -> None:
        """Wait for two frames."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def run(self, script: str) -> Any:
        """Give the value of a script in the page."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}))
        self.settle()

    def click(self, x: float, y: float) -> None:
        """Click at a place."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def picture(self) -> bytes:
        """Take a screenshot."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def complaints(self) -> list[str]:
        """Give what the page logged: errors, and what its policy refused."""
        told = [event["params"] for event in self.events if event["method"] == "Log.entryAdded"]
        thrown = [event["params"] for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        return [one["entry"]["text"] for one in told] + [str(one["exceptionDetails"]) for one in thrown]

    def requests(self) -> list[str]:
        """Give the addresses that the page asked for."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the debugging protocol."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session is not None and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._count:
                assert "error" not in got, got
                return dict(got["result"])
            if "method" in got:
                self.events.append(got)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._read, 1 << 20)
            assert read, "the browser ended"
            self._rest += read
        first, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(first))


def _frames(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree, *(inner for child in tree.get("childFrames", ()) for inner in _frames(child))]


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """Start one, and end it."""
    assert CHROMIUM is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    low = (min(theirs_in, theirs_out), max(theirs_in, theirs_out))
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={home}",
    ]  # fmt: skip

    def pipes() -> None:
        first, second = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(first, 3)
        os.dup2(second, 4)

    process = subprocess.Popen(
        command,
        preexec_fn=pipes,
        pass_fds=(3, 4, *low),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours_out)
        os.close(ours_in)

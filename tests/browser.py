"""A headless Chromium driven through its debugging pipe: enough to open a page, run scripts in it and look at it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0  # seconds

# The browser reads commands from descriptor 3 and answers on 4, which may be anything else until then.
HAND_OVER = """
import os, sys
read, write = os.dup2(int(sys.argv[1]), 100), os.dup2(int(sys.argv[2]), 101)
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def chromium() -> str | None:
    """The browser's path, if one is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Refused(AssertionError):
    """The browser could not do what it was asked for."""


class Tab:
    """One page. `complaints`: console errors, uncaught exceptions and requests to elsewhere since it was opened."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._rest, self._number = read, write, b"", 0
        self._session: str | None = None
        self._own: tuple[str, ...] = ()  # what a page may ask for
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, page: Path | str, *, width: int, height: int = 900, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        phone = width < 600
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self._call("Emulation.setEmulatedMedia", media="screen", features=[scheme])
        self._events.clear()
        url = page if isinstance(page, str) else page.as_uri()
        self._own = ("file:", "data:") if isinstance(page, Path) else ("data:", "/".join(url.split("/")[:3]) + "/")
        self._call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self._holds(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.05)

    def _holds(self, condition: str) -> bool:
        """Whether it holds now; a page that is just being left for another one can't be asked."""
        try:
            return bool(self.run(condition))
        except Refused:
            return False

    def point_at(self, x: float, y: float) -> None:
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        data = self._call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    @property
    def complaints(self) -> list[str]:
        found = []
        for event in self._events:
            name, about = event["method"], event["params"]
            if name == "Runtime.exceptionThrown":
                found.append(json.dumps(about["exceptionDetails"]))
            elif name == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
                found.append(json.dumps(about["args"]))
            elif name == "Log.entryAdded" and about["entry"]["level"] == "error":
                found.append(about["entry"]["text"])
            elif name == "Network.requestWillBeSent" and not about["request"]["url"].startswith(self._own):
                found.append(f"request to {about['request']['url']}")
        return found

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            if "method" in answer:
                self._events.append(answer)
        if "error" in answer:
            raise Refused(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has gone"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """A fresh browser with an empty profile in the folder `profile`, and a page of it."""
    path = chromium()
    assert path is not None
    commands_read, commands = os.pipe()
    answers, answers_write = os.pipe()

    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HAND_OVER,
            str(commands_read),
            str(answers_write),
            path,
            *FLAGS,
            f"--user-data-dir={profile}",
        ],
        pass_fds=(commands_read, answers_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_read)
    os.close(answers_write)
    try:
        yield Tab(answers, commands)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
        os.close(commands)
        os.close(answers)

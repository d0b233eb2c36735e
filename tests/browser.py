"""A headless Chromium that a test drives: over its DevTools pipe, so with no port and no package besides."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
_ANSWER_S = 60.0
AXE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def needed() -> None:
    """Skips without a browser, and fails on CI."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true, and this test needs a browser: apt-get install -y chromium", pytrace=False)
        pytest.skip("needs a browser: apt-get install -y chromium")


def wait(true: Callable[[], object], what: str, for_s: float = 30.0) -> None:
    until_s = time.monotonic() + for_s
    while True:
        try:
            if true():
                return
        except AssertionError:  # between two pages there is nothing to ask
            pass
        assert time.monotonic() < until_s, f"not within {for_s} s: {what}"
        time.sleep(0.05)


class Browser:
    """Use with `with`. One tab; what it runs itself is not held by the page's own Content-Security-Policy."""

    def __init__(self, folder: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()

        def three_and_four() -> None:
            spare_in, spare_out = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(spare_in, 3)
            os.dup2(spare_out, 4)

        command = [str(CHROMIUM), "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-dev-shm-usage", f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            command, preexec_fn=three_and_four, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in, self._rest, self._n = ours_out, ours_in, b"", 0
        os.set_blocking(self._in, False)
        self._session = ""
        self.console: list[str] = []

    def __enter__(self) -> "Browser":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **params: Any) -> Any:
        """Raises AssertionError with the browser's own words."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until_s = time.monotonic() + _ANSWER_S
        while time.monotonic() < until_s:
            said = self._heard()
            if said is None:
                time.sleep(0.005)
            elif said.get("id") == self._n:
                assert "error" not in said, (method, said["error"])
                return said["result"]
            elif said.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.console.append(json.dumps(said["params"]))
        raise AssertionError(f"the browser did not answer {method} within {_ANSWER_S} s")

    def _heard(self) -> Any:
        try:
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser went away"
            self._rest += piece
        except BlockingIOError:
            pass
        if b"\0" not in self._rest:
            return None
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    # -- what a person does and sees ----------------------------------------------------------------------------------

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url: str) -> None:
        assert "errorText" not in self.call("Page.navigate", url=url), url
        self.wait(lambda: self.run("document.readyState") == "complete", f"{url} is loaded")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def press(self, css: str) -> None:
        """By the keyboard: focus, then Enter."""
        element = f"document.querySelector({json.dumps(css)})"
        assert self.run(f"(e => e && (e.focus(), document.activeElement === e))({element})"), css
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def type(self, css: str, text: str) -> None:
        self.run(f"document.querySelector({json.dumps(css)}).focus()")
        self.call("Input.insertText", text=text)

    def wait(self, true: Callable[[], object], what: str, for_s: float = 30.0) -> None:
        try:
            wait(true, what, for_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text()}") from None

    def axe(self) -> list[str]:
        """What axe-core finds wrong. The page is held still: what is replaced while axe looks has no colours. And it
        is in sight as a whole, for of what it must scroll to axe may see another's ground.
        """
        self.wait(lambda: self.run("document.readyState") == "complete", "its style is there")
        self.run("window.stop(); window.fetch = () => new Promise(() => {}); 0")
        width, height, whole = self.run("[innerWidth, innerHeight, document.documentElement.scrollHeight]")
        self.size(width, max(height, whole))
        self.run((files("axe_core_python") / "axe.min.js").read_text() + "; true")
        found = self.run(
            f"axe.run(document, {{runOnly: {json.dumps(AXE)}}}).then(f => JSON.stringify("
            "{bad: f.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' | ')), good: f.passes.length}))"
        )
        self.size(width, height)
        said = json.loads(found)
        assert said["good"] > 10, "axe looked"
        return list(said["bad"])

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

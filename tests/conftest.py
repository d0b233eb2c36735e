"""What every test may ask for: the marks `mosquitto`, `root` and `data`, and a real broker of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulator.month_story import Told, tell
from simulator.virtual_disk import VirtualDisk

ON_CI = os.environ.get("CI") == "true"
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
DATA = Path(os.environ.get("LINLI_DATA") or Path(__file__).parents[2] / "shared" / "data")
BROKER_UP_MAX_S = 10.0
BROKER_DOWN_MAX_S = 10.0
PORT_TRIES_MAX = 5
HOSTILE = "<img src=x onerror=alert(1)>&"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that takes a broker is marked so by that alone."""
    for item in items:
        if {"mosquitto", "make_mosquitto"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("mosquitto")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("mosquitto") and MOSQUITTO is None:
        need_mosquitto(ON_CI)
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("data") and not DATA.is_dir():
        pytest.skip(f"needs the recorded data sets; there is no folder {DATA} (LINLI_DATA names another)")


@pytest.fixture(scope="session")
def told_month(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A month of a centre whose name is an attack on its pages; see simulator/month_story.py. Only to be read."""
    return tell(tmp_path_factory.mktemp("month"), seed=7, name=HOSTILE)


def need_mosquitto(on_ci: bool) -> None:
    """Security, persistence and restarts are shown on the real broker alone, so CI may not leave them out."""
    advice = "needs the mosquitto broker: apt-get install -y mosquitto"
    if on_ci:
        pytest.fail(f"CI=true, and this test {advice}", pytrace=False)
    pytest.skip(advice)


class Mosquitto:
    """A real broker on a loopback port, with a folder of its own that survives stop, kill and start.

    folder: configuration, persistence and log; made when it is not there.
    conf: further lines for mosquitto.conf, before those of the listener (a line about all listeners may stand there).
    acl: text of an ACL file; None lets everybody do everything. Nobody needs a password, and the user name that a
        client gives counts, so `pattern write linli/v1/%u/#` is enough to try an ACL. (Lines before the first `user`
        are for clients without a name.)
    """

    def __init__(self, folder: Path, conf: str = "", acl: str | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._conf = conf
        self._acl = acl
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    def start(self) -> "Mosquitto":
        """Come (back) on the same port. Only the first start changes it, when another program took it meanwhile."""
        assert self._process is None, "the broker is running; stop() or kill() it first"
        first = not self.folder.exists()
        for _ in range(PORT_TRIES_MAX if first else 1):
            self._write_conf()
            with open(self.folder / "mosquitto.log", "ab") as log:
                log_from = log.tell()
                self._process = subprocess.Popen(
                    [str(MOSQUITTO), "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
                )
            if self._is_up(log_from):
                return self
            self.kill()
            if first:
                self.port = free_port()
        raise AssertionError(f"mosquitto did not come up; its log says:\n{self.log}")

    def stop(self) -> None:
        """An orderly end: sessions, queues and retained messages are saved."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As the power cut does it; what was not saved is gone."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(BROKER_DOWN_MAX_S)
        finally:
            process.kill()

    def _write_conf(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = ["user root"] if os.geteuid() == 0 else []  # else it becomes "mosquitto" and may not enter the folder
        lines += [self._conf, "persistence true", f"persistence_location {self.folder}/", "log_dest stderr"]
        if self._acl is not None:
            (self.folder / "acl").write_text(self._acl)
            lines.append(f"acl_file {self.folder}/acl")
        lines += [f"listener {self.port} 127.0.0.1", "allow_anonymous true"]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def _is_up(self, log_from: int) -> bool:
        """By its own word: whoever answers on the port may be another program that took it."""
        assert self._process is not None
        give_up_s = time.monotonic() + BROKER_UP_MAX_S
        while time.monotonic() < give_up_s and self._process.poll() is None:
            if " running\n" in self.log[log_from:]:
                return True
            time.sleep(0.005)
        return False


@pytest.fixture
def disk() -> Iterator[VirtualDisk]:
    made = VirtualDisk()
    yield made
    made.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """`make_mosquitto(conf="", acl=None)` starts one more broker; all of them end with the test."""
    made: list[Mosquitto] = []

    def make(conf: str = "", acl: str | None = None) -> Mosquitto:
        made.append(Mosquitto(tmp_path / f"mosquitto-{len(made)}", conf, acl))
        return made[-1].start()

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture
def mosquitto(make_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """One real broker, started, open to everybody on loopback."""
    return make_mosquitto()


@pytest.fixture
def minisign() -> str:
    found = shutil.which("minisign")
    if found is None and ON_CI:
        pytest.fail("CI=true, and this test needs minisign: apt-get install -y minisign", pytrace=False)
    if found is None:
        pytest.skip("needs minisign: apt-get install -y minisign")
    return found

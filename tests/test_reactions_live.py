"""The reactions of a real gateway process: pins over a socket, no city, killed in the middle, asked by the commands."""

import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import cli
from gateway.config import load
from simulator import reactions
from simulator.pin_server import PinServer

ROOT = Path(__file__).parents[1]
WAIT_MAX_S = 20.0
ROPE, CLOSED, BUTTON, VALVE, STROBE = 17, 18, 23, 5, 27
SITE = """
schema = 1
site = { id = "live", gateway = "live-a", name = "实", lang = "en" }
sensor."cellar/rope" = { from = "gpio:17", kind = "leak" }
sensor."cellar/closed" = { from = "gpio:18", kind = "door" }
output.valve = { to = "gpio:5", kind = "valve", at_start = "keep", at_stop = "keep", at_crash = "keep", \
travel_s = 1, proof = "cellar/closed", approved_by = "物业 2026-11-20" }
output.strobe = { to = "gpio:27", kind = "strobe" }
alarm.leak = { name = "漏水", severity = "urgent", any = ["cellar/rope is wet"] }
reaction.close = { when = "alarm.leak active 2 s", do = "valve close", unless = ["test"] }
reaction.light = { when = "alarm.leak active", do = "strobe on" }
test = { button = "gpio:23", lasts_min = 15 }
uplink = { broker = "mqtt://127.0.0.1:1" }
"""


class Live:
    """The world behind the pins, and the program as a process. Contacts close to ground: low is active."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "site.toml").write_text(SITE, encoding="utf-8")
        (folder / "links").mkdir()
        self._selector = selectors.DefaultSelector()
        self.server = PinServer(folder / "links" / "pins.sock", self._selector, lambda gpio, level: None)
        self.server.open()
        for gpio in (ROPE, CLOSED, BUTTON):
            self.server.set(gpio, 1)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._turn)
        self._thread.start()
        self.process: subprocess.Popen[bytes] | None = None

    def _turn(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.02):
                with self._lock:
                    key.data()

    def active(self, gpio: int, on: bool) -> None:
        with self._lock:
            self.server.set(gpio, int(not on))

    def start(self) -> None:
        place = ["--state", str(self.folder / "state"), "--links", str(self.folder / "links")]
        command = [sys.executable, "-m", "gateway", "run", str(self.folder / "site.toml"), *place]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        (self.folder / "state" / "linli.sock").unlink(missing_ok=True)

    def is_up(self) -> bool:
        return (self.folder / "state" / "linli.sock").exists()

    def until(self, true: Callable[[], bool], what: str) -> float:
        """Seconds until it was so."""
        began_s = time.monotonic()
        while not true():
            assert time.monotonic() - began_s < WAIT_MAX_S, what
            time.sleep(0.005)
        return time.monotonic() - began_s

    def out(self, gpio: int) -> bool:
        return self.server.outputs.get(gpio) == 1

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        self._over.set()
        self._thread.join()
        self.server.close()


@pytest.fixture
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    live = Live(tmp_path_factory.mktemp("r"))
    live.start()
    live.until(live.is_up, "the gateway is up")
    yield live
    live.close()


def command(live: Live, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = cli.main([words[0], "--state", str(live.folder / "state"), *words[1:]])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def test_a_real_process_without_a_city_is_killed_in_the_middle_and_ends_with_its_valve_closed(live, capsys):
    live.active(ROPE, True)
    live.until(lambda: live.out(STROBE), "the strobe is on at once")
    time.sleep(1.0)
    assert not live.out(VALVE)
    live.kill()
    live.start()
    live.until(lambda: live.out(VALVE), "the valve closes after the restart")
    live.active(CLOSED, True)
    live.kill()
    live.active(ROPE, False)
    live.start()
    live.until(live.is_up, "the gateway is up again")
    live.until(lambda: not live.out(STROBE), "a dry rope ends the strobe")
    assert live.out(VALVE), "water comes back only by hand"
    command(live, capsys, "output", "valve", "auto")
    live.until(lambda: not live.out(VALVE), "the hand on the spot opens it")
    live.active(CLOSED, False)
    said = command(live, capsys, "output", "strobe", "on", "--minutes", "5", "--by", "Wang")
    assert "held by Wang, 5 min left" in said
    live.until(lambda: live.out(STROBE), "the hand lights the strobe")
    assert cli.main(["output", "--state", str(live.folder / "state"), "bell", "on"]) == 1
    assert capsys.readouterr().err == "there is no output bell; there are: valve, strobe see linli output list\n"


def test_the_button_begins_the_test_in_which_the_valve_waits_and_the_command_ends_it(live, capsys):
    live.active(BUTTON, True)
    live.until(lambda: "test mode" in command(live, capsys, "mode", "list"), "the button begins the test")
    live.active(BUTTON, False)
    live.active(ROPE, True)
    live.until(lambda: live.out(STROBE), "the strobe does not wait")
    time.sleep(3.0)
    assert not live.out(VALVE)
    live.kill()
    live.start()
    live.until(live.is_up, "the gateway is up again")
    assert "test mode: the whole centre, begun by button" in command(live, capsys, "mode", "list")
    assert command(live, capsys, "mode", "end") == "neither test nor maintenance is on\n"
    live.until(lambda: live.out(VALVE), "the water still runs, so the valve closes one hold time later")
    said = command(live, capsys, "mode", "maintenance", "--place", "cellar", "--minutes", "60")
    assert "maintenance: cellar, begun by desk, 60 min left" in said
    assert "alarms that call nobody meanwhile: leak" in said


# The table


def test_the_page_shows_every_reaction_under_every_failure_as_it_is_played_now():
    lines, right = reactions.table(load(reactions.SITE))
    assert right, "\n".join(lines)
    page = (ROOT / "docs/reactions.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in page, "run `linli reactions` and put its table into docs/reactions.md"


def test_a_deed_that_does_not_come_is_wrong_in_the_table(monkeypatch: pytest.MonkeyPatch):
    from gateway.deeds import Deeds

    monkeypatch.setattr(Deeds, "_settle", lambda deeds, now_s: None)
    lines, right = reactions.table(load(reactions.SITE))
    assert not right and all("**wrong**: nothing" in line for line in lines[2:])

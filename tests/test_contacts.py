"""Contacts, pins and outputs: what a rope, a cord or a door says, and what a valve is left as."""

import itertools
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from drivers.contacts import UNTOLD_MAX, Contact
from drivers.outputs import Output, Safe
from drivers.pins import DigitalIn, PinError, Pins, open_pins
from drivers.reading import DriverError, Reading
from gateway.build import ground_of
from gateway.config import load
from tests.line_world import Clock

ROOT = Path(__file__).parent.parent
HIGH, LOW = True, False
POINT = "gpio:17"


def open_contact(level: bool = HIGH, on_s: float = 0.0, off_s: float = 0.0, latch: bool = False) -> Contact:
    """A normally-open contact, idle, its first reading told."""
    contact = Contact(POINT, "normally-open", on_s, off_s, latch)
    contact.level(level, 0.0)
    contact.tick(0.0)
    return contact


def change(value: bool, mono_s: float) -> Reading:
    return Reading(POINT, value, mono_s, urgent=True)


# Contacts.


@pytest.mark.parametrize(
    ("wiring", "level", "active"),
    [
        ("normally-open", HIGH, False),
        ("normally-open", LOW, True),
        ("normally-closed", LOW, False),
        ("normally-closed", HIGH, True),  # wet, pulled, open; or the wire was cut
    ],
)
def test_wiring_decides_which_level_is_active(wiring: str, level: bool, active: bool) -> None:
    contact = Contact(POINT, wiring)
    assert not contact.known
    assert contact.tick(1.0) == []
    contact.level(level, 2.0)
    assert contact.known
    assert contact.tick(2.0) == [change(active, 2.0)]


def test_a_rope_wet_at_the_start_must_hold_like_any_other_and_a_dry_one_is_told_at_once() -> None:
    wet = Contact(POINT, "normally-open", on_s=3.0, off_s=5.0)
    wet.level(LOW, 10.0)
    assert (wet.tick(12.9), wet.due_s) == ([], 13.0)
    assert wet.tick(13.0) == [change(True, 10.0)]
    dry = Contact(POINT, "normally-open", on_s=3.0, off_s=5.0)
    dry.level(HIGH, 10.0)
    assert dry.tick(10.0) == [change(False, 10.0)]


def test_a_change_counts_when_it_has_held_and_says_since_when() -> None:
    contact = open_contact(on_s=3.0, off_s=1.0)
    contact.edge(LOW, 10.0)
    assert (contact.tick(12.99), contact.due_s) == ([], 13.0)
    assert contact.tick(13.0) == [change(True, 10.0)]
    assert (contact.tick(14.0), contact.due_s) == ([], None)
    contact.edge(HIGH, 20.0)
    assert contact.tick(20.99) == []
    assert contact.tick(21.5) == [change(False, 20.0)]


def test_bounces_restart_the_hold_and_a_short_touch_is_nothing() -> None:
    contact = open_contact(on_s=0.1)
    for bounce in range(5):
        contact.edge(LOW, 10.0 + bounce * 0.02)
        contact.edge(HIGH, 10.01 + bounce * 0.02)
        assert contact.tick(10.01 + bounce * 0.02) == []
    contact.edge(LOW, 10.2)
    assert contact.tick(10.29) == []
    assert contact.tick(10.31) == [change(True, 10.2)]


def test_edges_heard_late_are_judged_by_their_own_times() -> None:
    held, touched = open_contact(on_s=3.0), open_contact(on_s=3.0)
    for contact, released_s in ((held, 14.0), (touched, 10.05)):
        contact.edge(LOW, 10.0)
        contact.edge(HIGH, released_s)
    assert held.tick(60.0) == [change(True, 10.0), change(False, 14.0)]
    assert touched.tick(60.0) == []


def test_without_a_hold_time_the_shortest_pull_is_told() -> None:
    contact = open_contact()
    contact.edge(LOW, 10.0)
    contact.edge(HIGH, 10.001)
    assert contact.tick(10.5) == [change(True, 10.0), change(False, 10.001)]


def test_a_level_read_again_is_told_and_is_not_urgent() -> None:
    contact = open_contact()
    contact.level(HIGH, 60.0)
    assert contact.tick(60.0) == [Reading(POINT, False, 60.0, urgent=False)]
    assert contact.tick(61.0) == []


def test_a_lost_edge_is_found_when_the_level_is_read_again() -> None:
    contact = open_contact(on_s=1.0)
    contact.level(LOW, 60.0)
    assert contact.tick(60.0) == [], "whether it is active is open; the old level would be a lie"
    assert contact.tick(61.0) == [change(True, 60.0)]


def test_a_latched_cord_stays_pulled_until_it_is_reset_on_the_spot() -> None:
    contact = open_contact(latch=True)
    contact.edge(LOW, 10.0)
    assert contact.tick(10.0) == [change(True, 10.0)]
    contact.reset(11.0)
    assert contact.tick(11.0) == [], "nobody can reset a cord that is still pulled"
    contact.edge(HIGH, 12.0)
    assert (contact.tick(600.0), contact.due_s) == ([], None)
    contact.level(HIGH, 660.0)
    assert contact.tick(660.0) == [Reading(POINT, True, 660.0)]
    contact.reset(700.0)
    assert contact.tick(700.0) == [change(False, 700.0)]
    contact.reset(701.0)
    assert contact.tick(701.0) == []


def test_a_contact_that_chatters_is_bounded_and_ends_with_the_truth() -> None:
    contact = open_contact()
    for step in range(10_001):
        contact.edge(LOW if step % 2 == 0 else HIGH, 10.0 + step * 0.001)
    told = contact.tick(30.0)
    assert len(told) == UNTOLD_MAX
    assert told[-1] == change(True, 20.0)


@pytest.mark.parametrize("seed", range(20))
def test_readings_alternate_go_forward_and_end_with_the_level_whatever_the_pin_does(seed: int) -> None:
    dice = random.Random(seed)
    contact = Contact(POINT, "normally-open", dice.choice((0.0, 0.1, 3.0)), dice.choice((0.0, 0.3)))
    now_s, level, told = 0.0, HIGH, list[Reading]()
    for _ in range(500):
        now_s += dice.choice((0.001, 0.05, 1.0, 5.0))
        if dice.random() < 0.7:
            level = not level
            contact.edge(level, now_s)
        else:
            contact.level(level, now_s)
        if dice.random() < 0.5:
            told += contact.tick(now_s + dice.choice((0.0, 0.0005)))
    told += contact.tick(now_s + 10.0)
    assert [reading.mono_s for reading in told] == sorted(reading.mono_s for reading in told), f"seed {seed}"
    changes = [reading.value for reading in told if reading.urgent]
    assert all(before != after for before, after in itertools.pairwise(changes)), f"seed {seed}"
    assert changes[-1] is (level == LOW), f"seed {seed}"


# Pins.


class Edges:
    """Hears a pin's edges, as the gateway's queue would."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bool, float]] = []

    def __call__(self, gpio: int, level: bool, mono_s: float) -> None:
        self.heard.append((gpio, level, mono_s))


@pytest.fixture
def mock() -> MockFactory:
    return MockFactory()


def test_an_input_is_pulled_up_tells_its_edges_and_can_be_had_again_after_closing(mock: MockFactory) -> None:
    clock, edges = Clock(), Edges()
    pin = Pins(mock, clock.mono_s).input(17)
    pin.when_edge(edges)
    assert (pin.level, pin.known, mock.pin(17).bounce) == (HIGH, True, None)
    mock.pin(17).drive_low()
    clock.s += 5
    mock.pin(17).drive_high()
    assert [(gpio, level) for gpio, level, _ in edges.heard] == [(17, LOW), (17, HIGH)]
    assert [mono_s for *_, mono_s in edges.heard] == pytest.approx([1000.0, 1005.0], abs=0.5)
    pin.close()
    mock.pin(17).drive_low()
    assert len(edges.heard) == 2
    assert Pins(mock, clock.mono_s).input(17).level is HIGH


@pytest.mark.parametrize(("stamp_age_s", "told_s"), [(0.25, 999.75), (0.0, 1000.0), (7200.0, 1000.0), (-5.0, 1000.0)])
def test_an_edge_has_the_kernels_time_unless_that_cannot_be(
    mock: MockFactory, monkeypatch: pytest.MonkeyPatch, stamp_age_s: float, told_s: float
) -> None:
    clock, edges = Clock(), Edges()
    pin = Pins(mock, clock.mono_s).input(17)
    pin.when_edge(edges)
    monkeypatch.setattr(MockFactory, "ticks_diff", staticmethod(lambda later, earlier: stamp_age_s))
    mock.pin(17).drive_low()
    assert edges.heard == [(17, LOW, told_s)]


def test_an_edge_from_another_thread_is_told_in_that_thread(mock: MockFactory) -> None:
    threads: list[int] = []
    pin = Pins(mock, Clock().mono_s).input(17)
    pin.when_edge(lambda *_: threads.append(threading.get_ident()))
    world = threading.Thread(target=mock.pin(17).drive_low)
    world.start()
    world.join()
    assert threads == [world.ident]


def test_a_simulated_pin_says_that_it_does_not_know_its_level_yet(mock: MockFactory) -> None:
    known: set[int] = set()
    mock.level_known = known.__contains__
    pin = Pins(mock, Clock().mono_s).input(17)
    assert not pin.known
    known.add(17)
    assert pin.known


def test_a_pin_that_does_not_exist_is_told_in_words(mock: MockFactory) -> None:
    with pytest.raises(PinError, match=r"gpio:99: found .* expected .* see its number"):
        Pins(mock, Clock().mono_s).input(99)
    with pytest.raises(PinError, match=r"gpio:99: found .* expected .* see that no other"):
        Pins(mock, Clock().mono_s).output(99, "high").drive(True)


def test_edges_and_debounce_together_tell_one_door(mock: MockFactory) -> None:
    """From the pin to the reading: a bouncing door is one change."""
    clock = Clock()
    pin = Pins(mock, clock.mono_s).input(17)
    contact = Contact(POINT, "normally-closed", on_s=0.3, off_s=0.3)

    def on_edge(_: int, level: bool, mono_s: float) -> None:
        contact.edge(level, mono_s)

    pin.when_edge(on_edge)
    mock.pin(17).drive_low()
    clock.s += 1.0
    assert [reading.value for reading in contact.tick(clock.s)] == [False]
    for _ in range(4):
        clock.s += 0.01
        mock.pin(17).drive_high()
        clock.s += 0.01
        mock.pin(17).drive_low()
    clock.s += 0.01
    mock.pin(17).drive_high()
    clock.s += 0.31
    assert [(reading.value, reading.urgent) for reading in contact.tick(clock.s)] == [(True, True)]


@pytest.fixture
def no_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.delenv("LINLI_PINS", raising=False)


@pytest.mark.usefixtures("no_factory")
def test_a_machine_without_gpio_says_what_is_missing_and_what_to_do() -> None:
    with pytest.raises(DriverError, match=r"found no GPIO here .* expected .* --links"):
        open_pins(None, Clock().mono_s)


@pytest.mark.usefixtures("no_factory")
@pytest.mark.parametrize(
    ("point", "needed"), [("", False), ('sensor."rope" = { from = "gpio:17", kind = "leak" }\n', True)]
)
def test_only_a_site_with_something_on_a_pin_needs_a_gpio_library(tmp_path: Path, point: str, needed: bool) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        'schema = 1\nsite = { id = "s-1", gateway = "box-1", name = "no wires" }\n'
        'bus.n1 = { kind = "node", port = "link:n1" }\nuplink = { broker = "mqtt://127.0.0.1:1883" }\n' + point
    )
    site = load(path)
    if needed:
        with pytest.raises(DriverError, match="found no GPIO here"):
            ground_of(site, None)
    else:
        ground_of(site, None)


@pytest.mark.usefixtures("no_factory")
def test_a_socket_brings_the_simulators_pins_through_gpiozeros_own_door(tmp_path: Path) -> None:
    pins = open_pins(tmp_path / "pins.sock", Clock().mono_s)
    assert (os.environ["GPIOZERO_PIN_FACTORY"], os.environ["LINLI_PINS"]) == (
        "linli-socket",
        str(tmp_path / "pins.sock"),
    )
    pin: DigitalIn = pins.input(17)
    assert not pin.known, "nobody serves the socket yet"
    pin.close()


def test_what_an_output_was_left_as_outlasts_the_process() -> None:
    """gpiozero turns all its outputs into inputs at exit; a valve with at_stop = "keep" would move."""
    script = """
import atexit
from gpiozero import Device
from gpiozero.pins.mock import MockFactory
Device.pin_factory = factory = MockFactory()
from drivers.pins import open_pins
valve = open_pins(None, lambda: 0.0).output(5, "high")
valve.drive(True)
valve.close()
atexit._run_exitfuncs()
print(factory.pin(5).function, factory.pin(5).state)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "output True\n"


# Outputs.


class Relay:
    """Remembers how it was driven; refuses when told to."""

    def __init__(self) -> None:
        self.driven: list[bool] = []
        self.broken = False
        self.closed = False

    def drive(self, on: bool) -> None:
        if self.broken:
            raise PinError("the pin refuses")
        self.driven.append(on)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("active", "on", "level"), [("high", True, 1), ("high", False, 0), ("low", True, 0), ("low", False, 1)]
)
def test_active_low_turns_the_level_round_and_nothing_is_touched_before_the_first_drive(
    mock: MockFactory, active: str, on: bool, level: int
) -> None:
    pin = Pins(mock, Clock().mono_s).output(5, active)
    assert mock.pin(5).function == "input"
    pin.drive(on)
    assert (mock.pin(5).function, mock.pin(5).state) == ("output", level)
    pin.drive(not on)
    assert mock.pin(5).state == 1 - level


@pytest.mark.parametrize(
    ("state", "last", "driven"),
    [("off", True, False), ("on", False, True), ("keep", True, True), ("keep", False, False)],
)
def test_an_output_is_left_as_at_stop_says(state: Safe, last: bool, driven: bool) -> None:
    relay = Relay()
    output = Output("valve", relay, last=last, at_stop=state)
    output.stop()
    assert (relay.driven, output.on) == ([driven], driven)


def test_keep_means_what_was_driven_last() -> None:
    relay = Relay()
    output = Output("valve", relay, at_stop="keep")
    output.drive(True)
    output.stop()
    output.close()
    assert (relay.driven, relay.closed) == ([True, True], True)


def test_an_output_that_refuses_does_not_claim_to_be_on() -> None:
    relay = Relay()
    output = Output("valve", relay)
    relay.broken = True
    with pytest.raises(OSError, match="refuses"):
        output.drive(True)
    assert output.on is False

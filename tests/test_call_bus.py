"""Call terminals and rating pads overheard: frames by a maker's table, and what was pressed."""

import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

from drivers import frame_table
from drivers.call_bus import PAUSE_S, CallBus, Frames, checksum, golden_mistakes
from drivers.frame_table import FrameTable, FrameTableError
from drivers.reading import Event, Fact
from tests.line_world import Clock


def table(name: str = "keypad-21") -> FrameTable:
    return frame_table.load(frame_table.tables()[name])


def frame(*body: int) -> bytes:
    """As the published description draws it: FF 68 L L 68 body sum 16."""
    return bytes([0xFF, 0x68, len(body), len(body), 0x68, *body, sum(body) & 0xFF, 0x16])


CALL_A12 = frame(3, 0x01, ord("A"), 0x00, 0x12)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def said(facts: list[Fact]) -> list[tuple[str, dict[str, object]]]:
    return [(fact.type, fact.data) for fact in facts if isinstance(fact, Event)]


@pytest.mark.parametrize("name", frame_table.tables())
def test_a_shipped_table_reads_its_golden_frames_as_it_says(name: str) -> None:
    assert golden_mistakes(table(name)) == []
    assert not table(name).verified, "then say in docs/devices/call-buses.md from which terminal it was recorded"


def test_a_press_at_a_terminal_is_a_call_with_number_and_address(clock: Clock) -> None:
    bus = CallBus("c1", table(), clock.mono_s)
    called = ("ticket.called", {"value": None, "address": 3, "service": "A", "number": 12})
    assert said(bus.feed(CALL_A12)) == [called] and bus.hello


def test_one_press_repeated_until_the_controller_answers_is_one_call(clock: Clock) -> None:
    bus = CallBus("c1", table(), clock.mono_s)
    facts = []
    for _ in range(20):
        facts += bus.feed(CALL_A12)
        clock.s += 0.5
    assert len(facts) == 1 and bus.repeats == 19
    clock.s += 2
    assert len(bus.feed(CALL_A12)) == 1, "pressed again: that is another call, and the city is told"


def test_polls_and_answers_of_the_controller_are_no_events_and_no_faults(clock: Clock) -> None:
    bus = CallBus("c1", table(), clock.mono_s)
    assert bus.feed(frame(3, 0x7F) + frame(3, 0x80, 1, 2, 3)) == []
    assert bus.others == 2 and bus.frames_bad == 0 and not bus.error


def test_a_whole_frame_that_makes_no_sense_is_told_as_another_model(clock: Clock) -> None:
    bus = CallBus("c1", table(), clock.mono_s)
    assert bus.feed(frame(3, 0x01, ord("A"), 0x0A, 0x12)) == []  # no BCD
    assert bus.feed(frame(3, 0x01, ord("A"))) == [] and bus.odd == 2
    assert "too few for number" in bus.error and "See that the table fits" in bus.error
    bus.feed(CALL_A12)
    assert bus.error == ""


def test_frames_are_found_behind_noise_false_starts_and_cut_ones(clock: Clock) -> None:
    bus = CallBus("c1", table(), clock.mono_s)
    noise = b"\x00\xff\x68\xff\x68\x05\x05\x68\x03"
    facts = [fact for byte in noise + CALL_A12 for fact in bus.feed(bytes([byte]))]
    assert len(facts) == 1
    assert bus.feed(b"\xff\x68\xf0\xf0\x68" + frame(4, 0x01, ord("B"), 0x00, 0x01)) == [], "it may yet be a long one"
    clock.s += PAUSE_S
    assert said(bus.tick())[0][1]["service"] == "B", "frames have no pauses: it was a false start"


def test_a_thousand_harmed_frames_never_cost_a_whole_one_behind_a_pause() -> None:
    dice, frames = random.Random("harm"), Frames(table())
    for number in range(1000):
        harmed = bytearray(CALL_A12)
        for _ in range(dice.randrange(1, 4)):
            harmed[dice.randrange(len(harmed))] ^= 1 << dice.randrange(8)
        found = frames.feed(bytes(harmed)) + frames.pause() + frames.feed(CALL_A12)
        assert found[-1].raw == CALL_A12, number
        assert not frames.pause()


def test_a_pad_of_single_bytes_tells_grades_and_that_nobody_pressed(clock: Clock) -> None:
    bus = CallBus("r1", table("pad-byte"), clock.mono_s)
    facts = said(bus.feed(b"\x05"))
    clock.s += 5
    facts += said(bus.feed(b"\x00\x77"))
    assert facts == [("ticket.rated", {"value": 5, "grade": 5}), ("ticket.rated", {"value": None})]
    assert bus.odd == 1, "a byte that is no key is counted and told, never taken for a grade"


def test_checks_are_what_their_names_say() -> None:
    assert checksum("sum", b"\xff\x02") == b"\x01"
    assert checksum("xor", b"\x0f\xf0\x01") == b"\xfe"
    assert checksum("crc16", bytes.fromhex("010300000001")) == bytes.fromhex("840a")  # a Modbus request


def changed(**keys: Any) -> dict[str, Any]:
    raw = tomllib.loads(frame_table.tables()["keypad-21"].read_text())
    return raw | keys


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"frame": ["FF", "lenght", "data"]}, "found 'lenght'"),
        ({"frame": ["FF", "data", "length", "address", "command"]}, "length behind data"),
        ({"frame": ["FF", "length", "address", "command", "data", "sum", "xor"]}, "two checks"),
        ({"counts": ["address", "command"]}, "counts: found no data"),
        ({"checks": ["16", "17"]}, "checks: found '17'"),
        ({"message": [{"event": "caled", "data": [], "command": 1}]}, "found 'caled'"),
        ({"message": [{"event": "called", "data": []}]}, "only one of frame and message"),
        ({"message": [{"event": "called", "data": ["number:bdc2"], "command": 1}]}, "found 'number:bdc2'"),
        ({"message": [{"event": "rated", "data": ["grade:u8"], "command": 1}]}, "without grade and grades"),
        ({"line": "fast"}, "no frame table"),
        ({"speed": 1}, "no frame table"),
        ({"golden": []}, "no frame table"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(FrameTableError, match=why):
        frame_table.parse(changed(**keys), "mine.toml")


@pytest.mark.parametrize(
    ("text", "why"), [(b"title = ", "no TOML text"), (b"\xff", "no TOML text"), (None, "no such file")]
)
def test_a_file_that_is_no_table_says_why(tmp_path: Path, text: bytes | None, why: str) -> None:
    if text is not None:
        (tmp_path / "mine.toml").write_bytes(text)
    with pytest.raises(FrameTableError, match=why):
        frame_table.load(tmp_path / "mine.toml")


def test_a_table_whose_golden_frames_say_otherwise_is_told() -> None:
    raw = changed()
    raw["golden"][0]["says"]["number"] = 13
    (mistake,) = golden_mistakes(frame_table.parse(raw, "mine.toml"))
    assert "golden[1]" in mistake and "'number': 12" in mistake

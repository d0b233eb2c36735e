"""LK1, the kiosks' line protocol: lines a maker can check by hand, and events from them."""

from binascii import crc32
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import kiosk_line
from drivers.kiosk_line import KioskLink, Line, LineSplitter, encode_ack, encode_ask, encode_event, encode_hello
from drivers.kiosk_side import KioskSide
from drivers.reading import Event, Fact, Lost
from tests.line_world import BOOT, Clock, numbers


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sealed(text: str) -> bytes:
    """A line as a maker's own code would close it."""
    return f"{text}*{crc32(text.encode()):08X}\n".encode()


def ready(clock: Clock, mark: tuple[int, int] = (0, 0), oldest: int = 1) -> KioskLink:
    link = KioskLink("k1", clock.mono_s, mark)
    link.feed(encode_hello(BOOT, oldest, 64, "hall 1"))
    return link


def issued(seq: int, boot: int = BOOT) -> bytes:
    return encode_event(boot, seq, 0, "issued", {"service": "A", "number": seq, "label": f"A{seq:03}"})


# Lines.


def test_the_lines_of_the_protocol_are_exactly_these() -> None:
    fields = {"service": "社保", "number": 12, "label": "A 012", "window": None}
    assert encode_event(7, 41, 350, "issued", fields) == sealed(
        "LK1 E 7 41 350 issued service=%E7%A4%BE%E4%BF%9D number=12 label=A%20012"
    )
    assert encode_hello(7, 41, 200, "hall 1") == sealed("LK1 H 7 41 200 hall%201")
    assert kiosk_line.encode_lost(7, 41, 45) == sealed("LK1 L 7 41 45")
    assert kiosk_line.encode_beat(3600) == sealed("LK1 B 3600")
    assert encode_ack(7, 41, 30) == sealed("LK1 A 7 41 30")
    assert encode_ack(7, 41, 30, go_back=True) == sealed("LK1 N 7 41 30")
    assert encode_ask() == b"LK1 ?*117F1B51\n"


VALUES = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
U32 = st.integers(0, 0xFFFFFFFF)


@given(U32, U32, U32, VALUES, st.dictionaries(VALUES.filter(bool), VALUES, max_size=3))
def test_any_values_come_back_from_a_line(
    boot: int, seq: int, age_ms: int, event: str, fields: Mapping[str, str]
) -> None:
    line = encode_event(boot, seq, age_ms, event, fields)
    assert line.isascii() and line.count(b"\n") == 1
    assert kiosk_line.parse_line(line[:-1]) == Line("E", (boot, seq, age_ms), event, fields)


@given(st.lists(st.tuples(U32, U32, U32, VALUES), max_size=5), st.data())
def test_lines_come_whole_however_the_wire_cuts_them(
    lines: list[tuple[int, int, int, str]], data: st.DataObject
) -> None:
    wire = b"".join(encode_hello(*line) for line in lines).replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n"])))
    splitter, found = LineSplitter(), []
    while wire:
        cut = data.draw(st.integers(1, len(wire)))
        found += splitter.feed(wire[:cut])
        wire = wire[cut:]
    assert [(*line.numbers, line.word) for line in found] == lines
    assert (splitter.good, splitter.bad) == (len(lines), 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("LK2 B 1", "LK1"),
        ("LK1 X 1", "known kind"),
        ("LK1", "known kind"),
        ("LK1 B", "more or fewer"),
        ("LK1 B 1 2", "more or fewer"),
        ("LK1  B 1", "known kind"),
        ("LK1 A 1 2", "more or fewer"),
        ("LK1 H 1 2 3", "more or fewer"),
        ("LK1 B -1", "not a number"),
        ("LK1 B +1", "not a number"),
        ("LK1 B 1_0", "not a number"),
        ("LK1 B ١", "not a number"),
        ("LK1 B 4294967296", "not a number"),
        ("LK1 E 1 2 3", "no event"),
        ("LK1 E 1 2 3 issued service", "not key=value"),
        ("LK1 E 1 2 3 issued =A", "not key=value"),
        ("LK1 E 1 2 3 issued a=1 a=2", "twice"),
        ("LK1 E 1 2 3 issued a=%4", "two hex digits"),
        ("LK1 E 1 2 3 issued a=%FF", "utf-8"),
    ],
)
def test_a_line_out_of_form_is_refused_and_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        kiosk_line.parse_line(sealed(text)[:-1])


@pytest.mark.parametrize("line", [b"", b"LK1 B 1", b"LK1 B 1*", b"LK1 B 1*12345678", b"LK1 ?*117f1b51", b"*00000000"])
def test_a_line_without_its_crc_in_capitals_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="CRC|LK1"):
        kiosk_line.parse_line(line)


def test_a_line_has_512_bytes_at_most_on_both_ends() -> None:
    room = 512 - len(encode_hello(1, 1, 1, ""))
    longest = encode_hello(1, 1, 1, "x" * room)
    assert LineSplitter().feed(longest) == [Line("H", (1, 1, 1), "x" * room)]
    with pytest.raises(ValueError, match="513 bytes"):
        encode_hello(1, 1, 1, "x" * (room + 1))
    splitter = LineSplitter()
    assert splitter.feed(sealed(f"LK1 H 1 1 1 {'x' * (room + 1)}")) == []
    assert splitter.bad == 1


def test_an_endless_line_does_not_fill_the_memory() -> None:
    splitter = LineSplitter()
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert len(splitter.rest) <= 512
    assert splitter.feed(b"\n" + encode_ask()) == [Line("?")]
    assert splitter.bad == 1


# What a line becomes.


@pytest.mark.parametrize(
    ("event", "fields", "value"),
    [
        ("issued", {"service": "A", "number": 12, "label": "A012"}, "A012"),
        ("called", {"service": "A", "number": 12, "label": "A012", "window": "3"}, "A012"),
        ("transferred", {"label": "A012", "to": "C"}, "A012"),
        ("no_show", {"number": 12}, None),
        ("rated", {"window": "3", "grade": 4}, 4),
        ("rated", {"window": "3"}, None),
    ],
)
def test_a_ticket_event_has_its_keys_its_value_and_its_time(
    clock: Clock, event: str, fields: dict[str, object], value: object
) -> None:
    link = ready(clock)
    assert link.feed(encode_event(BOOT, 1, 1500, event, fields)) == [
        Event("k1", f"ticket.{event}", {**fields, "value": value}, 998.5, BOOT, 1)
    ]


@pytest.mark.parametrize(
    "words",
    [
        "paused",
        "issued number=twelve",
        "rated grade=6",
        "rated grade=0",
        "issued label=%zz",
        "issued label",
        "issued a=%FF",
    ],
)
def test_an_event_no_one_can_read_is_told_as_lost_with_the_reason_and_the_line_goes_on(
    clock: Clock, words: str
) -> None:
    link = ready(clock)
    assert link.feed(sealed(f"LK1 E {BOOT} 1 0 {words}")) == [Lost("k1", BOOT, 1, 1, 1000.0)]
    assert "k1" in link.error and "Expected" in link.error and "maker" in link.error
    assert numbers(link.feed(issued(2))) == [2]
    assert (link.error, link.frames_odd) == ("", 1)


def test_a_kiosk_says_who_it_is_and_that_it_lives(clock: Clock) -> None:
    link = ready(clock)
    clock.s += 5
    link.feed(kiosk_line.encode_beat(77))
    assert (link.name, link.ring, link.beat, link.last_heard_s) == ("hall 1", 64, {"uptime_s": 77}, 1005.0)


def test_a_line_that_only_echoes_our_own_voice_brings_no_facts(clock: Clock) -> None:
    link = ready(clock)
    assert link.feed(encode_ack(BOOT, 5, 5) + encode_ack(BOOT, 5, 5, go_back=True) + encode_ask()) == []
    assert (link.received, link.frames_odd) == (0, 3)


@pytest.mark.parametrize(
    ("lines", "taken", "answer"),
    [
        pytest.param([issued(11), issued(12)], [11, 12], encode_ack(BOOT, 12, 10), id="in order"),
        pytest.param([issued(10)], [], encode_ack(BOOT, 10, 10), id="a repeat is acked again"),
        pytest.param([issued(12)], [], encode_ack(BOOT, 10, 10, go_back=True), id="a hole is refused"),
        pytest.param(
            [kiosk_line.encode_lost(BOOT, 9, 13), issued(14)], [(11, 13), 14], encode_ack(BOOT, 14, 10), id="a loss"
        ),
        pytest.param([issued(1, boot=BOOT + 1)], [], encode_ask(), id="rebooted without a HELLO"),
        pytest.param(
            [encode_hello(BOOT, 14, 64, "hall 1")], [(11, 13)], encode_ack(BOOT, 13, 10), id="cannot be had again"
        ),
    ],
)
def test_events_count_only_in_order(
    clock: Clock, lines: list[bytes], taken: list[int | tuple[int, int]], answer: bytes
) -> None:
    link = ready(clock, (BOOT, 10), oldest=11)
    link.outgoing()
    assert numbers(link.feed(b"".join(lines))) == taken
    assert link.outgoing() == answer


def test_a_bad_line_takes_none_of_its_neighbours_with_it(clock: Clock) -> None:
    link = ready(clock)
    bad = issued(2).replace(b"A002", b"A003")
    assert numbers(link.feed(issued(1) + bad + b"\x00\xff noise\n" + issued(2))) == [1, 2]
    assert link.frames_bad == 2


# The kiosk's side.


def test_a_kiosk_keeps_its_events_until_they_are_durable_and_ages_them(clock: Clock) -> None:
    side, link = KioskSide(BOOT, 2, "hall 1", clock.mono_ms), KioskLink("k1", clock.mono_s)
    assert [side.add("issued", {"number": n}) for n in (1, 2, 3)] == [1, 2, None]
    clock.s += 60
    facts: list[Fact] = link.feed(side.outgoing(1000))
    assert [(fact.seq, fact.mono_s) for fact in facts if isinstance(fact, Event)] == [(1, 1000.0), (2, 1000.0)]
    side.feed(link.outgoing())
    assert (side.received, side.free) == (2, 0)
    link.durable(BOOT, 2)
    side.feed(link.outgoing())
    assert (side.undurable, side.free) == (0, 2)


def test_an_event_too_long_for_a_line_is_refused_when_it_is_added(clock: Clock) -> None:
    side = KioskSide(BOOT, 2, "hall 1", clock.mono_ms)
    with pytest.raises(ValueError, match="at most 512"):
        side.add("issued", {"label": "社" * 60})
    assert side.next == 1

"""The vectors on the pages for vendors and node makers are what the decoders read."""

from pathlib import Path

import pytest

from drivers import kiosk_line, node_frame, node_settings
from drivers.node_link import NodeLink

DOCS = Path(__file__).parent.parent / "docs"


def vectors(page: str) -> list[str]:
    return (DOCS / page).read_text(encoding="utf-8").split("```")[1].strip().splitlines()


@pytest.mark.parametrize("line", vectors("kiosk-line.md"))
def test_every_kiosk_line_of_the_page_is_read_and_one_wrong_letter_is_not(line):
    assert kiosk_line.parse_line(line.encode()).kind in "HELBAN?"
    with pytest.raises(ValueError):
        kiosk_line.parse_line(line.replace("LK1 ", "LK1  ", 1).encode())
    flipped = line[:-1] + ("0" if line[-1] != "0" else "1")
    with pytest.raises(ValueError):
        kiosk_line.parse_line(flipped.encode())


def test_the_kiosk_pages_event_means_what_it_says():
    called = kiosk_line.parse_line(vectors("kiosk-line.md")[2].encode())
    assert called.numbers == (3, 2, 0) and called.word == "called" and called.fields["window"] == "3"
    rated = kiosk_line.parse_line(vectors("kiosk-line.md")[3].encode())
    assert rated.fields == {"grade": "5", "window": "3号"}


def test_every_frame_of_the_nodes_page_is_read_in_turn():
    frames = {line.split()[0]: bytes.fromhex(line.split(None, 1)[1]) for line in vectors("node-link.md")}
    splitter = node_frame.Splitter()
    found = [frame[:3] for frame in splitter.feed(b"".join(frames.values()))]
    assert found == [
        (1, 7, 1),
        (2, 7, 1),
        (3, 7, 2),
        (4, 7, 9),
        (5, 7, 0),
        (16, 7, 0),
        (1, 7, 1),
        (19, 7, 0),
        (6, 7, 0),
    ]
    link = NodeLink("n1", lambda: 100.0)
    facts = link.feed(frames["HELLO"] + frames["DATA"] + frames["EVENT"] + frames["LOST"] + frames["BEAT"])
    assert [(fact[0], fact[1]) for fact in facts[:2]] == [("n1:flow1", 0.0005), ("n1:loop1", "alarm")]
    assert facts[0].mono_s == 99.75 and facts[2][2:4] == (3, 9)
    assert link.beat["supply_mv"] == 5012 and link.ring == 64


def test_the_nodes_pages_settings_are_sent_as_it_shows_and_its_refusal_is_understood():
    frames = {line.split()[0]: bytes.fromhex(line.split(None, 1)[1]) for line in vectors("node-link.md")}
    text = "flow1_pulse_ul=10000\nloop_hold_ms=300"
    has_them = NodeLink("n1", lambda: 100.0, settings=text)
    has_them.feed(frames["HELLO2"])
    assert frames["CONFIG"] not in has_them.outgoing() and has_them.cfg == node_settings.cfg_of(text)
    wants_others = NodeLink("n1", lambda: 100.0, settings="")
    wants_others.feed(frames["HELLO2"])
    assert node_frame.encode(node_frame.CONFIG, 7, 0, node_frame.config_payload(0, 1, b"")) in wants_others.outgoing()
    old = NodeLink("n1", lambda: 100.0, settings=text)
    old.feed(frames["HELLO"])
    assert old.cfg is None and len(old.outgoing()) == len(frames["ACK"])  # takes no settings: is sent none
    fresh = frames["HELLO2"].replace(b"cfg=", b"CFG=")
    assert old.feed(fresh) == [] and old.frames_bad == 1
    mute = NodeLink("n1", lambda: 100.0, settings=text)
    mute.feed(node_frame.encode(node_frame.HELLO, 7, 1, node_frame.hello_payload(9, "f;flow*1;cfg=00000000 next=1")))
    assert frames["CONFIG"] in mute.outgoing()
    mute.feed(frames["REFUSED"])
    assert mute.refused == "found loop_hold_mss" and mute.outgoing() == b""

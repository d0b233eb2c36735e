"""The uplink on lines that are silent, held, narrow or full of garbage, and a city whose word alone counts."""

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Mosquitto, free_port
from scripted_broker import SILENCE, ScriptedBroker, packet
from uplink_rig import (
    BOTH,
    GATEWAY,
    TOPICS,
    Ledgers,
    MakeBox,
    Watcher,
    ack,
    names,
    wait,
)

from gateway import courier, session
from gateway.pending import Work
from gateway.schema import pack_id
from simulator.relay import Relay

pytest_plugins = ["uplink_rig"]


# -- what a line may do -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hurried")
def test_silence_after_connect_is_bounded(
    broker: ScriptedBroker, make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CONNECT_S", 0.5)
    broker.welcome = lambda _: SILENCE
    box = make_box(broker.url, mqtt="5").start()
    wait(lambda: "no answer to CONNECT" in box.said, "word of it")
    wait(lambda: len(broker.connects) >= 2, "another try")
    broker.welcome = lambda _: b"\x00"
    wait(lambda: box.uplink.state.connected and box.well, "in")


@BOTH
@pytest.mark.usefixtures("hurried")
def test_bytes_that_are_no_mqtt_do_not_end_the_thread(version: str, broker: ScriptedBroker, make_box: MakeBox) -> None:
    dice = random.Random(11)
    samples = [dice.randbytes(dice.randrange(1, 60)) for _ in range(30)]
    samples += [packet(dice.randrange(1, 16) << 4 | dice.randrange(16), dice.randbytes(dice.randrange(30)))
                for _ in range(100)]  # fmt: skip
    samples += [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x30\xff\xff\xff\xff\xff", b"\x20\x02\x00\x00", b"\x40\x00"]
    box = make_box(broker.url, mqtt=version)
    box.start()
    for sample in samples:
        wait(lambda: box.uplink.state.connected and broker._link, "a connection")
        before = len(broker.connects)
        broker.say(sample)
        broker.cut()
        wait(lambda b=before: len(broker.connects) > b, f"a reconnect after {sample!r}")
        assert box.uplink.fault is None
    box.put(5)
    wait(lambda: len(set(names(broker.published))) == 6, "the packs")
    assert box.uplink.fault is None and box.storage.fault is None


@BOTH
@pytest.mark.usefixtures("hurried")
def test_a_welcome_that_is_no_mqtt_does_not_end_the_thread(
    version: str, broker: ScriptedBroker, make_box: MakeBox
) -> None:
    dice = random.Random(12)
    broker.welcome = lambda _: dice.randbytes(dice.randrange(1, 12)) if len(broker.connects) < 150 else b"\x00"
    box = make_box(broker.url, mqtt=version)
    box.start()
    wait(lambda: len(broker.connects) >= 150 and box.uplink.state.connected, "in after 150 strange welcomes", 30)
    assert box.uplink.fault is None


@pytest.mark.usefixtures("hurried")
def test_a_cable_that_is_pulled_is_noticed_by_the_keepalive(
    mosquitto: Mosquitto, make_box: MakeBox, relay: Callable[..., Relay], watch: Callable[[Mosquitto], Watcher]
) -> None:
    line = relay(mosquitto.port)
    watcher = watch(mosquitto)
    box = make_box(line.url, keepalive_s=1).start()
    wait(lambda: box.uplink.state.connected, "connected")
    line.hold()
    box.put(5)
    wait(lambda: not box.uplink.state.connected and box.said, "word of it", 6)
    line.mend()
    wait(lambda: {p["n"] for p in watcher.all(TOPICS.up("events"))} == {1, 2, 3, 4, 5, 6}, "the packs")


@pytest.mark.parametrize("how", ["refuses", "silent", "held", "hears no more"])
def test_a_clean_end_takes_two_seconds_at_most_when_the_broker_is_dead(
    how: str, broker: ScriptedBroker, make_box: MakeBox, relay: Callable[..., Relay]
) -> None:
    line = relay(broker.port)
    if how == "silent":
        broker.welcome = lambda _: SILENCE
    box = make_box(line.url if how != "refuses" else f"mqtt://127.0.0.1:{free_port()}", mqtt="5").start()
    if how in ("held", "hears no more"):
        wait(lambda: box.uplink.state.connected, "connected")
    if how == "held":
        line.hold()
    broker.answering = how != "hears no more"
    box.put(50)
    wait(lambda: how != "silent" or broker.connects, "the connection")
    before_s = time.monotonic()
    assert box.uplink.close(2), "the thread ended"
    assert time.monotonic() - before_s < 2
    assert box.storage.close(2)


# -- accepted is what the city says -----------------------------------------------------------------------------------

CLOSED_ACL = f"user {GATEWAY}\ntopic read linli/v1/+/down/#\ntopic write linli/v1/{GATEWAY}/status\n"
CITY_ACL = "topic readwrite linli/#\n"


@BOTH
def test_what_the_brokers_acl_drops_is_not_confirmed_and_arrives_when_the_acl_is_mended(
    version: str, make_mosquitto: Callable[..., Mosquitto], make_box: MakeBox, city: Ledgers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(courier, "_HOLD_MIN_S", 0.5)
    broker = make_mosquitto(acl=CITY_ACL + CLOSED_ACL)
    city.at(broker.url)
    box = make_box(broker.url, mqtt=version, resend_s=0.5).start()
    box.put(40)
    wait(lambda: box.uplink.state.packs_sent > 0, "packs on their way")
    if version == "5":
        wait(lambda: "does not accept" in box.said, "word of it")
    time.sleep(0.7)
    assert city.held(box.store.epoch) == set() and box.uplink.state.acked.get("events", 0) == 0
    (broker.folder / "acl").write_text(CITY_ACL + CLOSED_ACL + f"topic write linli/v1/{GATEWAY}/up/#\n")
    assert broker._process
    broker._process.send_signal(1)  # SIGHUP: read the ACL again; nobody is disconnected
    wait(lambda: city.held(box.store.epoch) == set(range(1, 42)), "everything at the city")
    wait(lambda: box.uplink.state.acked.get("events") == 41, "the city's word")
    wait(lambda: box.well, "the end of the trouble")
    assert box.uplink.state.connections == 1


@pytest.mark.usefixtures("hurried")
def test_what_a_broker_forgot_after_its_puback_is_sent_again(
    make_mosquitto: Callable[..., Mosquitto], make_box: MakeBox, city: Ledgers
) -> None:
    broker = make_mosquitto(conf="autosave_interval 0\nmax_queued_messages 10000")
    city.at(broker.url)
    box = make_box(broker.url).start()
    wait(lambda: box.uplink.state.acked.get("events") == 1, "the first word")
    city.away()
    box.put(60)
    wait(lambda: box.uplink.state.packs_sent >= 64, "all of it at the broker")
    time.sleep(0.3)  # the PUBACKs
    assert box.uplink.state.acked["events"] == 1
    broker.kill()
    broker.start()
    city.at(broker.url)
    wait(lambda: city.held(box.store.epoch) == set(range(1, 62)), "everything at the city")
    wait(lambda: box.uplink.state.acked["events"] == 61, "the city's word")


def test_an_ack_changed_in_any_way_harms_neither_thread(
    broker: ScriptedBroker, make_box: MakeBox, tmp_path: Path
) -> None:
    box = make_box(broker.url, resend_s=600).start()
    box.put(40)
    wait(lambda: len(set(names(broker.published))) == 41, "the packs")
    good = json.dumps(
        {"v": 1, "epoch": box.store.epoch, "streams": {"events": {
            "upto": 1, "also": [[3, 4]], "missing": [[5, 6]], "reject": [{"n": 7, "why": "schema"}]}}}
    ).encode()  # fmt: skip
    dice = random.Random(21)
    for payload in (*EVIL(box.store.epoch), *(changed(good, dice) for _ in range(2_000))):
        broker.tell(TOPICS.ack, payload)
    broker.tell(TOPICS.ack, b'{"v":2,"epoch":"","streams":{}}')
    wait(lambda: "v is 2" in box.said, "the last of them", 30)
    box.put(1)  # confirmations ride on a commit
    wait(lambda: 42 in names(broker.published), "the next pack")
    assert box.uplink.fault is None and box.storage.fault is None and box.uplink.state.connections == 1
    broker.tell(TOPICS.ack, ack(box.store.epoch, events=42))
    wait(lambda: box.uplink.state.acked["events"] == 42 and box.well, "a good one is taken")


@pytest.mark.usefixtures("hurried")
def test_a_mistake_of_ours_costs_a_connection_and_not_the_thread(
    broker: ScriptedBroker, make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hear(*_: object) -> None:
        raise LookupError("nobody thought of that")

    monkeypatch.setattr(courier.Courier, "hear", hear)
    box = make_box(broker.url).start()
    wait(lambda: box.uplink.state.connected, "connected")
    broker.tell(TOPICS.ack, b"{}")
    wait(lambda: len(broker.connects) == 2 and box.well, "another connection")


def EVIL(epoch: str) -> list[bytes]:
    """What chance would not find."""
    heads = [{"upto": -(10**30)}, {"upto": 10**30}, {"reject": [{"n": 10**30, "why": "x"}]},
             {"reject": [{"n": pack_id(0, "health", 1), "why": "x"}]}, {"reject": [{"n": True}, {"n": -1}, {}]},
             {"missing": [[1, 41]] * 20_000}, {"also": [[1, 1]] * 15_000}, {"reject": [{"n": 2, "why": "\udc80" * 9}]},
             {"also": [[41, 2]]}]  # fmt: skip
    found = [json.dumps({"v": 1, "epoch": epoch, "streams": {"events": head}}).encode() for head in heads]
    return [*found, b"[" * 200_000, b'{"v":1,"epoch":"' + b"x" * 400_000, b"\x00", b"", b"\xff" * 99]


def changed(good: bytes, dice: random.Random) -> bytes:
    """One to three bytes changed, removed, doubled, or a number put in the place of another."""
    text = bytearray(good)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(text))
        how = dice.randrange(5)
        if how == 0:
            text[at] = dice.randrange(256)
        elif how == 1:
            del text[at : at + dice.randrange(1, 8)]
        elif how == 2:
            text[at:at] = text[at : at + dice.randrange(1, 30)]
        elif how == 3:
            text[at] = dice.choice(b'0123456789-[]{}",:')
        else:
            number = str(dice.choice((-1, 0, 2**31, 2**44, 2**53, 2**63, 2**64, 10**30))).encode()
            text = bytearray(re.sub(rb"\d+", number, bytes(text), count=dice.randrange(1, 9)))
    return bytes(text)


# -- alarms do not wait -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack_b", [300, 20_000])
def test_an_alarm_overtakes_a_backlog_on_a_narrow_line(
    pack_b: int, broker: ScriptedBroker, make_box: MakeBox, relay: Callable[..., Relay]
) -> None:
    """At most 16 KB of the backlog, and what one pack is over it, come between an alarm's storing and the alarm."""
    line = relay(broker.port, bytes_s=32_000.0)
    box = make_box(line.url, gzip=False)
    box.store.commit([Work(box.drafts(2_000, "events", pack_b))])
    box.start()
    wait(lambda: len(names(broker.published)) * pack_b > 30_000, "the backlog under way", 20)
    for n in range(2, 5):
        stored_at: list[int] = []
        box.on_stored = lambda at=stored_at: at.append(len(broker.published))
        box.put(1, "alarms")
        wait(lambda n=n: n in names(broker.published, "alarms"), "the alarm")
        topics = [publish.topic for publish in broker.published]
        alarm_at = [i for i, topic in enumerate(topics) if topic == TOPICS.up("alarms")][-1]
        between = [len(publish.payload) for publish in broker.published[stored_at[0] : alarm_at]]
        assert sum(between) <= 16_384 + max(between, default=0), f"{sum(between)} B in {len(between)} packs came first"
    assert len(set(names(broker.published))) < 2_000, "there was a backlog all the time"


def test_a_wide_line_is_not_kept_narrow(broker: ScriptedBroker, make_box: MakeBox, relay: Callable[..., Relay]) -> None:
    """100 ms each way: with 16 KB under way the 800 packs would take 30 s."""
    line = relay(broker.port, delay_s=0.1)
    box = make_box(line.url, gzip=False, confirm="broker", window=100)
    box.store.commit([Work(box.drafts(800, "events", 3_000))])
    box.start()
    wait(lambda: box.uplink.state.acked.get("events") == 801, "the backlog")

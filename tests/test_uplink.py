"""The uplink on real wires: what the city sees of the box, the window, and what a broker may answer."""

import time
from collections.abc import Callable

import pytest
from conftest import Mosquitto
from scripted_broker import HANG_UP, SILENCE, Publish, ScriptedBroker, receive_maximum
from uplink_rig import BOTH, GATEWAY, TOPICS, MakeBox, Watcher, names, wait

from gateway import courier, session
from gateway.contract import STREAMS
from gateway.wire import HEARD_BYTES_MAX
from simulator.relay import Relay

pytest_plugins = ["uplink_rig"]


# -- what the city sees of the box ------------------------------------------------------------------------------------


@BOTH
def test_the_status_is_online_with_heads_while_the_box_is_there_and_offline_with_heads_after_a_clean_end(
    version: str, mosquitto: Mosquitto, make_box: MakeBox, watch: Callable[[Mosquitto], Watcher]
) -> None:
    watcher = watch(mosquitto)
    box = make_box(mosquitto.url, mqtt=version).start()
    wait(lambda: watcher.last(TOPICS.status).get("state") == "online", "status online")
    online = watcher.last(TOPICS.status)
    assert online["heads"] == dict.fromkeys(STREAMS, 1) and online["epoch"] == box.store.epoch
    box.put(7)
    wait(lambda: len(watcher.all(TOPICS.up("events"))) == 8, "the packs")
    box.close()
    wait(lambda: watcher.last(TOPICS.status)["state"] == "offline", "status offline")
    offline = watcher.last(TOPICS.status)
    assert offline["heads"]["events"] == 8 and offline["session"] == online["session"]
    late = watch(mosquitto)
    wait(lambda: late.retained.get(TOPICS.status) == offline, "it for those who come later too")


@BOTH
@pytest.mark.usefixtures("hurried")
def test_the_will_says_offline_when_the_connection_is_torn_and_the_next_session_is_higher(
    version: str, mosquitto: Mosquitto, make_box: MakeBox, watch: Callable[[Mosquitto], Watcher],
    relay: Callable[..., Relay],
) -> None:  # fmt: skip
    line = relay(mosquitto.port)
    box = make_box(line.url, mqtt=version).start()
    watcher = watch(mosquitto)
    wait(lambda: watcher.last(TOPICS.status).get("state") == "online", "status online")
    line.cut()
    wait(lambda: watcher.last(TOPICS.status)["state"] == "offline", "the will")
    will = watcher.last(TOPICS.status)
    assert "heads" not in will, "the will was written before anybody knew them"
    line.mend()
    wait(lambda: watcher.last(TOPICS.status)["state"] == "online", "online again")
    assert watcher.last(TOPICS.status)["session"] > will["session"]
    wait(lambda: box.well, "no trouble left")


@BOTH
def test_meta_and_state_are_retained_and_only_the_newest_goes_out(
    version: str, mosquitto: Mosquitto, make_box: MakeBox, watch: Callable[[Mosquitto], Watcher]
) -> None:
    box = make_box(mosquitto.url, mqtt=version)
    box.uplink.retain(TOPICS.meta, b'{"v":1,"name":"old"}')
    box.uplink.retain(TOPICS.meta, b'{"v":1,"name":"new"}')
    box.start()
    watcher = watch(mosquitto)
    wait(lambda: watcher.last(TOPICS.meta) == {"v": 1, "name": "new"}, "meta")
    box.uplink.retain(TOPICS.state, b'{"v":1,"values":{}}')
    wait(lambda: watcher.last(TOPICS.state) == {"v": 1, "values": {}}, "state")
    late = watch(mosquitto)
    wait(lambda: {TOPICS.meta, TOPICS.state} <= set(late.retained), "both for those who come later")
    assert watcher.all(TOPICS.meta) == [{"v": 1, "name": "new"}]


@BOTH
def test_the_box_gives_its_name_as_the_user_so_that_one_acl_pattern_serves_all(
    version: str, make_mosquitto: Callable[..., Mosquitto], make_box: MakeBox, watch: Callable[[Mosquitto], Watcher]
) -> None:
    acl = f"pattern write linli/v1/%u/#\npattern read linli/v1/%u/down/#\nuser {GATEWAY}\nuser watcher\ntopic read #\n"
    broker = make_mosquitto(acl=acl)
    watcher = watch(broker)
    box = make_box(broker.url, mqtt=version).start()
    box.put(3)
    wait(lambda: len(watcher.all(TOPICS.up("events"))) == 4, "the packs")
    assert box.well


# -- the window -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "maximum", "most"), [(16, 5, 5), (6, 65_535, 6), (16, 1, 1), (16, 2, 2)])
def test_never_more_is_under_way_than_the_window_and_the_brokers_receive_maximum(
    window: int, maximum: int, most: int, broker: ScriptedBroker, make_box: MakeBox
) -> None:
    broker.welcome = lambda _: receive_maximum(maximum)
    box = make_box(broker.url, window=window)
    for topic in (TOPICS.meta, TOPICS.state):
        box.uplink.retain(topic, b"{}")
    box.start()
    box.put(100)
    wait(lambda: len(set(names(broker.published))) == 101, "the packs")
    broker.answering = False
    box.put(50, "alarms")
    box.put(50)
    wait(lambda: broker.most_waiting == most, f"{most} under way")
    box.uplink.retain(TOPICS.state, b'{"new":1}')
    time.sleep(0.2)  # for one more, which must not come
    assert broker.most_waiting == most
    broker.release()
    wait(lambda: len(set(names(broker.published, "alarms"))) == 51, "the alarms")
    assert broker.most_waiting == most and box.well


@pytest.mark.usefixtures("hurried")
def test_a_reconnect_with_a_long_backlog_keeps_the_window_too(broker: ScriptedBroker, make_box: MakeBox) -> None:
    broker.welcome = lambda _: receive_maximum(5)
    box = make_box(broker.url).start()
    wait(lambda: box.uplink.state.connected, "connected")
    broker.answering = False
    box.put(300)
    for connection in (2, 3):
        wait(lambda: broker.most_waiting == 5, "a full window")
        broker.cut()
        wait(lambda c=connection: len(broker.connects) == c, "the next connection")
    time.sleep(0.3)
    assert broker.most_waiting <= 5
    broker.release()
    wait(lambda: len(set(names(broker.published))) == 301, "everything")
    assert broker.most_waiting <= 5


@pytest.mark.usefixtures("hurried")
def test_an_answer_that_never_comes_ends_the_connection_and_not_the_message(
    broker: ScriptedBroker, make_box: MakeBox
) -> None:
    lost: list[int] = []

    def forget_one(publish: Publish) -> int | None:
        if publish.topic == TOPICS.up("events") and not lost:
            lost.append(publish.mid)
            return None
        return 0

    broker.puback = forget_one
    box = make_box(broker.url, keepalive_s=1, confirm="broker").start()
    box.put(3)
    wait(lambda: len(broker.connects) == 2, "another connection")
    wait(lambda: box.uplink.state.acked.get("events") == 4, "all of them confirmed")


# -- what a broker may answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0x80, 0x87, 0x97, 0x99])
def test_a_pack_that_the_broker_refuses_stays_is_told_of_and_goes_again_later(
    code: int, broker: ScriptedBroker, make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "_HOLD_MIN_S", 0.2)
    refused = True
    broker.puback = lambda p: code if refused and "/up/events" in p.topic else 0
    box = make_box(broker.url, confirm="broker", resend_s=600).start()
    wait(lambda: box.uplink.state.connected, "connected")
    box.put(30)
    wait(lambda: "does not accept linli/v1/box-a/up/events" in box.said, "word of it")
    tried = len(names(broker.published))
    time.sleep(0.5)
    assert len(names(broker.published)) - tried <= 3, "a refused stream backs off, and tries with one pack"
    assert box.uplink.state.acked["events"] == 0
    refused = False
    wait(lambda: box.uplink.state.acked["events"] == 31, "all of them")
    wait(lambda: box.well, "the end of the trouble")


@pytest.mark.parametrize(("mqtt", "said"), [("5", HEARD_BYTES_MAX), ("3.1.1", 0)])
def test_a_broker_of_mqtt_5_is_told_how_much_the_box_can_hear_at_once(
    mqtt: str, said: int, broker: ScriptedBroker, make_box: MakeBox
) -> None:
    box = make_box(broker.url, mqtt=mqtt).start()
    wait(lambda: box.uplink.state.connected, "connected")
    assert broker.connects[0].packet_bytes_max == said


def test_a_refused_stream_holds_no_alarm_back(broker: ScriptedBroker, make_box: MakeBox) -> None:
    broker.puback = lambda p: 0x87 if "/up/events" in p.topic else 0
    box = make_box(broker.url, confirm="broker").start()
    box.put(30)
    wait(lambda: "does not accept" in box.said, "the refusal")
    for n in range(2, 6):
        before_s = time.monotonic()
        box.put(1, "alarms")
        wait(lambda n=n: n in names(broker.published, "alarms"), "the alarm")
        assert time.monotonic() - before_s < 2, "the refused stream waits 5 s, the alarm does not"


def test_nobody_listening_is_no_failure(broker: ScriptedBroker, make_box: MakeBox) -> None:
    broker.puback = lambda _: 0x10
    box = make_box(broker.url, confirm="broker").start()
    box.put(20)
    wait(lambda: box.uplink.state.acked.get("events") == 21, "all of them confirmed")
    assert box.well


def test_a_second_box_with_our_name_is_not_fought(broker: ScriptedBroker, make_box: MakeBox) -> None:
    box = make_box(broker.url).start()
    wait(lambda: box.uplink.state.connected, "connected")
    broker.disconnect(0x8E)
    wait(lambda: "a copied card?" in box.said, "word of it")
    time.sleep(1.5)
    assert len(broker.connects) == 1 and not box.uplink.state.connected
    before_s = time.monotonic()
    assert box.uplink.close(2) and time.monotonic() - before_s < 2, "waiting is no reason not to end"


def test_one_that_is_thrown_out_each_time_comes_back_less_and_less_often(
    broker: ScriptedBroker, make_box: MakeBox
) -> None:
    """On 3.1.1 nobody says why; two boxes of one name must not throw each other out twice a second for ever."""
    box = make_box(broker.url, mqtt="3.1.1").start()
    came_s: list[float] = []
    for connection in range(1, 5):
        wait(lambda c=connection: len(broker.connects) == c and box.uplink.state.connected, "a connection")
        came_s.append(time.monotonic())
        broker.cut()
        wait(lambda: not box.uplink.state.connected, "its end")
    assert came_s[3] - came_s[2] > 0.9 and came_s[3] - came_s[0] < 8


@pytest.mark.parametrize(
    ("version", "code", "why"),
    [("5", 0x87, "Not authorized"), ("5", 0x86, "Bad user name or password"), ("3.1.1", 5, "Not authorized"),
     ("auto", 0x88, "Server unavailable")],
)  # fmt: skip
@pytest.mark.usefixtures("hurried")
def test_a_refused_connection_says_why(
    version: str, code: int, why: str, broker: ScriptedBroker, make_box: MakeBox
) -> None:
    broker.welcome = lambda _: bytes([code])
    box = make_box(broker.url, mqtt=version).start()
    wait(lambda: why in box.said, "the reason")
    wait(lambda: len(broker.connects) >= 2, "another try")
    assert {connect.version for connect in broker.connects} == ({4} if version == "3.1.1" else {5})
    broker.welcome = lambda _: b"\x00"
    wait(lambda: box.uplink.state.connected and box.well, "in, and the trouble over")


@pytest.mark.usefixtures("hurried")
def test_a_refused_subscription_to_the_acks_says_so(broker: ScriptedBroker, make_box: MakeBox) -> None:
    broker.grant = 0x87
    box = make_box(broker.url).start()
    wait(lambda: f"refused {TOPICS.ack}" in box.said, "the reason")
    assert not box.uplink.state.connected


@pytest.mark.parametrize("answer", [HANG_UP, SILENCE, b"\x84", b"\x01"], ids=["hangs up", "silent", "0x84", "0x01"])
@pytest.mark.usefixtures("hurried")
def test_a_broker_that_does_not_speak_5_is_tried_with_3_1_1(
    answer: bytes, broker: ScriptedBroker, make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CONNECT_S", 0.5)
    broker.welcome = lambda connect: answer if connect.version == 5 else b"\x00"
    box = make_box(broker.url).start()
    box.put(5)
    wait(lambda: len(set(names(broker.published))) == 6, "the packs")
    assert [connect.version for connect in broker.connects] == [5, 4] and box.well
    broker.cut()
    wait(lambda: len(broker.connects) == 3, "a reconnect")
    assert broker.connects[2].version == 4, "it is known by now"


@pytest.mark.usefixtures("hurried")
def test_a_broker_that_spoke_5_once_is_not_tried_with_less(broker: ScriptedBroker, make_box: MakeBox) -> None:
    """A balancer whose brokers are away takes the connection and drops it."""
    box = make_box(broker.url).start()
    wait(lambda: box.uplink.state.connected, "connected")
    broker.welcome = lambda _: HANG_UP
    broker.cut()
    wait(lambda: len(broker.connects) >= 3, "two tries")
    assert {connect.version for connect in broker.connects} == {5}

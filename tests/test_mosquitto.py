"""The broker the tests run against does what the promises about security, persistence and restarts need of it."""

import time
from collections.abc import Callable

import paho.mqtt.client as mqtt
import pytest
from conftest import Mosquitto, need_mosquitto
from paho.mqtt.enums import CallbackAPIVersion

ANSWER_MAX_S = 10.0
ACL = "pattern write linli/v1/%u/#\nuser city\ntopic read linli/#\n"


class Client:
    """A paho client that this test turns by hand, and what it was told."""

    def __init__(self, broker: Mosquitto, name: str, clean: bool = True) -> None:
        self.heard: list[str] = []
        self.codes: list[str] = []
        self._up: list[bool] = []
        self._done = 0
        self._paho = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311, clean_session=clean
        )
        self._paho.username_pw_set(name)
        self._paho.on_connect = lambda _c, _u, _f, code, _p: self._up.append(not code.is_failure)
        self._paho.on_message = lambda _c, _u, message: self.heard.append(message.payload.decode())
        self._paho.on_publish = lambda _c, _u, _mid, code, _p: self.codes.append(str(code))
        self._paho.on_subscribe = lambda *_: self.codes.append("subscribed")
        self._paho.connect("127.0.0.1", broker.port)
        self.until(lambda: self._up == [True])

    def until(self, ready: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + ANSWER_MAX_S
        while not ready():
            assert time.monotonic() < give_up_s, f"no answer; heard {self.heard}, codes {self.codes}"
            self._paho.loop(timeout=0.05)

    def subscribe(self, topic: str) -> None:
        self._paho.subscribe(topic, qos=1)
        self.until(lambda: "subscribed" in self.codes)

    def publish(self, topic: str, text: str, retain: bool = False) -> None:
        self._done += 1
        self._paho.publish(topic, text, qos=1, retain=retain)
        self.until(lambda: len(self.codes) >= self._done)

    def leave(self) -> None:
        self._paho.disconnect()
        self._paho.loop(timeout=0.05)


def test_what_the_broker_keeps_for_a_session_survives_its_restart(mosquitto: Mosquitto) -> None:
    city = Client(mosquitto, "city", clean=False)
    city.subscribe("linli/#")
    city.leave()
    Client(mosquitto, "box").publish("linli/v1/box/up/alarms", "leak")
    mosquitto.stop()
    mosquitto.start()
    back = Client(mosquitto, "city", clean=False)
    back.until(lambda: back.heard == ["leak"])


def test_a_killed_broker_comes_back_on_its_port(mosquitto: Mosquitto) -> None:
    port = mosquitto.port
    mosquitto.kill()
    with pytest.raises(ConnectionRefusedError):
        Client(mosquitto, "box")
    mosquitto.start()
    Client(mosquitto, "box")
    assert mosquitto.port == port


def test_the_acl_drops_what_a_box_writes_under_another_ones_name(make_mosquitto: Callable[..., Mosquitto]) -> None:
    broker = make_mosquitto(acl=ACL)
    city = Client(broker, "city")
    city.subscribe("linli/#")
    box = Client(broker, "box-a")
    box.publish("linli/v1/box-b/up/alarms", "a lie")
    box.publish("linli/v1/box-a/up/alarms", "the truth")
    city.until(lambda: bool(city.heard))
    assert city.heard == ["the truth"]


def test_two_brokers_of_one_test_share_nothing(make_mosquitto: Callable[..., Mosquitto]) -> None:
    one, other = make_mosquitto(), make_mosquitto(conf="max_inflight_messages 1")
    assert one.port != other.port
    Client(one, "box").publish("linli/v1/box/status", "online", retain=True)
    city = Client(other, "city")
    city.subscribe("linli/#")
    Client(other, "box").publish("linli/v1/box/status", "from the other")
    city.until(lambda: bool(city.heard))
    assert city.heard == ["from the other"]


def test_without_a_broker_a_test_is_skipped_at_home_and_fails_on_ci() -> None:
    with pytest.raises(pytest.skip.Exception, match="apt-get install"):
        need_mosquitto(on_ci=False)
    with pytest.raises(pytest.fail.Exception, match="apt-get install"):
        need_mosquitto(on_ci=True)

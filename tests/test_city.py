"""The city on a real broker: hears, keeps, acknowledges, and comes back from whatever happens to either of them."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.contract import Topics, parse_ack
from simulator.broker import Broker
from simulator.city import City
from simulator.ledger import Ledger
from simulator.ledger_view import view
from simulator.mqtt import Connection, parse_url
from simulator.relay import Relay

WAIT_MAX_S = 20.0
EPOCH = "9f3c2a71"
TOPICS = Topics("linli", "box-1")
ROOT = Path(__file__).parents[1]


def pack(n, stream="events", **more):
    record = {"specversion": "1.0", "type": "linli.ticket.issued.v1", "subject": "k1", "data": {"value": f"A{n:03}"}}
    record |= {"time": "2026-11-23T01:00:00Z", "src": f"k1/1/{n}"}
    body = {"v": 1, "stream": stream, "epoch": EPOCH, "n": n, "boot": 1, "mono": 1.0, "clock": "ntp", "cfg": "00000000"}
    return json.dumps(body | {"records": [record]} | more).encode()


class Box:
    """The gateway's end, as small as it can be: publishes, and keeps the acks it hears."""

    def __init__(self, url, version=5):
        self.acks = []
        self._link = Connection(url, "box-1", self._heard, version=version)
        assert self._link.open(), self._link.error
        self.until(lambda: self._link.up)
        self._link.subscribe([TOPICS.ack])
        self.until(lambda: self._link.ready)

    def _heard(self, topic, payload):
        assert topic == TOPICS.ack
        self.acks.append(parse_ack(payload))

    @property
    def upto(self):
        return max((ack.streams["events"].upto for ack in self.acks if "events" in ack.streams), default=0)

    def until(self, ready):
        give_up_s = time.monotonic() + WAIT_MAX_S
        while not ready():
            assert time.monotonic() < give_up_s, f"waited too long; {self._link.error or 'the line is up'}"
            assert self._link.turn(0.02), self._link.error
            self._link.settle()

    def listen(self, seconds):
        give_up_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > give_up_s)

    def hand_over(self, topic, payload, retain=False):
        self.until(lambda: self._link.publish(topic, payload, retain=retain))

    def publish(self, topic, payload, retain=False):
        self.hand_over(topic, payload, retain)
        self.until(lambda: self._link.room == 16)  # the broker has it

    def close(self):
        self._link.close()


class Running:
    """A City in a thread of this process."""

    def __init__(self, path, url, **more):
        self.said = []
        self.ledger = Ledger(path)
        self.city = City(self.ledger, url, SystemClock(), random.Random(path.name), say=self.said.append, **more)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.city.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def listening(self):
        assert self.city.listening.wait(WAIT_MAX_S), self.said
        return self

    def close(self):
        self._stop.set()
        self._thread.join(WAIT_MAX_S)
        assert not self._thread.is_alive()
        self.ledger.close()


@pytest.fixture
def start(tmp_path):
    """start(url, db=..., **settings) runs a city; all of them end with the test."""
    running = []

    def start_one(url, db="city.db", **more):
        running.append(Running(tmp_path / db, url, **{"acking": True} | more))
        return running[-1]

    yield start_one
    for each in running:
        if each._thread.is_alive():
            each.close()


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def broker(request, tmp_path):
    with Broker(tmp_path / "broker", request.param) as one:
        yield one


def held(path):
    """{stream: numbers} of box-1 that are in the file."""
    ledger = Ledger(path, watching=True)
    found = {}
    for stream, n in ledger.rows("SELECT stream, n FROM packs WHERE gateway = 'box-1'"):
        found.setdefault(stream, set()).add(n)
    ledger.close()
    return found


def test_a_pack_is_kept_and_then_acknowledged(broker, start, tmp_path):
    start(broker.url).listening()
    box = Box(broker.url)
    box.publish(TOPICS.up("events"), pack(1))
    box.until(lambda: box.upto == 1)
    assert held(tmp_path / "city.db") == {"events": {1}}
    assert box.acks[-1].epoch == EPOCH
    box.close()


def test_all_the_topics_of_the_contract_are_heard(broker, start, tmp_path):
    city = start(broker.url).listening()
    box = Box(broker.url)
    box.publish(TOPICS.status, b'{"v":1,"state":"online","session":3,"epoch":"9f3c2a71","heads":{}}', retain=True)
    box.publish(TOPICS.meta, b'{"v":1,"m":1}', retain=True)
    box.publish(TOPICS.state, b'{"v":1,"alarms":{"leak":"unacknowledged"}}', retain=True)
    for stream in ("alarms", "events", "readings", "health"):
        box.publish(TOPICS.up(stream), pack(1, stream))
    box.until(lambda: {name for ack in box.acks for name in ack.streams} == {"alarms", "events", "readings", "health"})
    city.close()
    ledger = Ledger(tmp_path / "city.db", watching=True)
    assert list(ledger.rows("SELECT state, session, meta FROM gateways")) == [("online", 3, b'{"v":1,"m":1}')]
    text = view(ledger)
    ledger.close()
    for words in ("在线 online", "leak unacknowledged", "纪元 epoch 9f3c2a71 (当前 current)", "linli.ticket.issued.v1"):
        assert words in text
    box.close()


def test_without_ack_it_only_listens(broker, start, tmp_path):
    start(broker.url, acking=False).listening()
    answering = start(broker.url, db="other.db").listening()
    box = Box(broker.url)
    box.publish(TOPICS.up("events"), pack(1))
    box.until(lambda: box.upto == 1)
    answering.close()
    box.acks.clear()
    box.publish(TOPICS.up("events"), pack(2))
    give_up_s = time.monotonic() + WAIT_MAX_S
    while held(tmp_path / "city.db") != {"events": {1, 2}}:
        assert time.monotonic() < give_up_s
        time.sleep(0.02)
    box.listen(0.5)
    assert box.acks == []
    box.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_both_versions_serve(mosquitto, start, version):
    city = start(mosquitto.url, version=version).listening()
    box = Box(mosquitto.url, version=5 if version == "3.1.1" else 4)
    box.publish(TOPICS.up("events"), pack(1))
    box.until(lambda: box.upto == 1)
    assert f"(MQTT {version})" in city.said[0]
    box.close()


def test_what_was_published_while_the_city_was_away_is_waiting_for_it(mosquitto, start, tmp_path):
    start(mosquitto.url).listening().close()
    box = Box(mosquitto.url)
    for n in range(1, 51):
        box.publish(TOPICS.up("events"), pack(n))
    start(mosquitto.url).listening()
    box.until(lambda: box.upto == 50)
    assert held(tmp_path / "city.db") == {"events": set(range(1, 51))}
    box.close()


def test_an_outage_is_told_once_each_way_and_asked_for_again(broker, start):
    city = start(broker.url).listening()
    broker.kill()
    give_up_s = time.monotonic() + WAIT_MAX_S
    while city.city.listening.is_set():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)
    time.sleep(1.0)  # some tries in vain
    broker.start()
    city.listening()
    box = Box(broker.url)
    box.publish(TOPICS.up("events"), pack(1))
    box.until(lambda: box.upto == 1)
    assert [words.split(" on ")[0].split(" at ")[0] for words in city.said] == [
        "city: acknowledging",
        "city: no broker",
        "city: acknowledging",
    ]
    box.close()


def test_a_city_on_a_line_that_is_cut_again_and_again_holds_everything(broker, start, tmp_path):
    with Relay(broker.port, delay_s=0.002) as line:
        start(line.url).listening()
        box = Box(broker.url)
        dice = random.Random(11)
        for n in range(1, 201):
            box.publish(TOPICS.up("events"), pack(n))
            if dice.random() < 0.03:
                line.cut()
                line.mend()
        for _ in range(5):  # what the broker lost with a session is named missing, and sent again
            settled = len(box.acks)
            box.until(lambda settled=settled: len(box.acks) > settled or box.upto == 200)
            for first, last in box.acks[-1].streams["events"].missing if box.upto < 200 else ():
                for n in range(first, last + 1):
                    box.publish(TOPICS.up("events"), pack(n))
        box.until(lambda: box.upto == 200)
        box.close()
    assert held(tmp_path / "city.db") == {"events": set(range(1, 201))}


def test_refused_acks_are_told(make_mosquitto, start):
    refusing = make_mosquitto(acl="topic read linli/v1/+/up/#\ntopic write linli/v1/+/up/#\n")
    city = start(refusing.url, version="5").listening()
    sender = Connection(refusing.url, "box-1", lambda *_: None)
    assert sender.open()
    give_up_s = time.monotonic() + WAIT_MAX_S
    published = False
    while len(city.said) < 2:
        assert time.monotonic() < give_up_s, city.said
        assert sender.turn(0.02)
        published = published or sender.publish(TOPICS.up("events"), pack(1))
    assert "refuses acks" in city.said[1]
    sender.close()


class OldBroker:
    """Knows MQTT 3.1.1 only and, like amqtt, says nothing at all to anybody else."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"
        self.levels = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                end, _ = self._server.accept()
            except OSError:
                return
            with end:
                self._talk(end)

    def _talk(self, end):
        while data := end.recv(4096):
            if data[0] == 0x10:
                self.levels.append(data[8])
                if data[8] != 4:
                    return
                end.sendall(b"\x20\x02\x00\x00")
            elif data[0] == 0x82:
                filters = data.count(b"linli/")
                end.sendall(b"\x90" + bytes([2 + filters]) + data[2:4] + b"\x01" * filters)

    def close(self):
        self._server.close()


def test_auto_comes_down_to_the_version_the_broker_knows(start):
    old = OldBroker()
    city = start(old.url).listening()
    assert old.levels == [5, 4]
    assert "(MQTT 3.1.1)" in city.said[-1]
    city.close()
    old.close()


@pytest.mark.parametrize("url", ["", "broker", "http://127.0.0.1:1", "mqtt://", "mqtt://127.0.0.1:many"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError):
        parse_url(url)


def test_a_password_may_hold_any_character_and_is_never_said(start, mosquitto):
    assert parse_url("mqtts://city:p%40ss%2F@10.0.0.1").password == "p@ss/"
    city = start(mosquitto.url.replace("://", "://city:hush@")).listening()
    assert "hush" not in "".join(city.said)


# the command, as a process


def linli(*arguments):
    return [sys.executable, "-m", "gateway", "city", *map(str, arguments)]


def serve(path, url, *more):
    process = subprocess.Popen(
        linli("--broker", url, "--db", path, "--ack", *more), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert "acknowledging" in process.stderr.readline()
    return process


def end(process, how):
    process.send_signal(how)
    code = process.wait(WAIT_MAX_S)
    process.stderr.close()
    return code


def test_sigterm_commits_and_ends_well(broker, tmp_path):
    process = serve(tmp_path / "city.db", broker.url)
    box = Box(broker.url)
    box.publish(TOPICS.up("events"), pack(1))
    box.until(lambda: box.upto == 1)
    box.close()
    assert end(process, signal.SIGTERM) == 0
    shown = subprocess.run(linli("--db", tmp_path / "city.db", "--view"), cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    assert "events" in shown.stdout


def test_the_seconds_end_it(broker, tmp_path):
    process = serve(tmp_path / "city.db", broker.url, "--seconds", "0.5")
    assert process.wait(WAIT_MAX_S) == 0
    process.stderr.close()


def test_a_city_killed_in_full_flow_loses_nothing_it_answered_for(mosquitto, tmp_path):
    """Neither to the gateway, by its ack, nor to the broker, by its PUBACK: nobody here sends anything twice."""
    dice = random.Random(int(os.environ.get("LINLI_SEED", "3")))
    box = Box(mosquitto.url)
    path = tmp_path / "city.db"
    n = 0
    for _ in range(6):
        process = serve(path, mosquitto.url)
        for _ in range(dice.randint(100, 400)):
            n += 1
            box.hand_over(TOPICS.up("events"), pack(n))
        process.kill()  # the broker goes on handing it what it was sent
        end(process, signal.SIGKILL)
        box.listen(0.2)
        assert set(range(1, box.upto + 1)) <= held(path).get("events", set())  # it may not have got as far as any
    process = serve(path, mosquitto.url)
    box.until(lambda: box.upto == n)
    box.close()
    assert end(process, signal.SIGTERM) == 0
    assert held(path) == {"events": set(range(1, n + 1))}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--db", "x.db"], "expected mqtt://"),
        (["--db", "x.db", "--broker", "ftp://127.0.0.1"], "expected mqtt://"),
        (["--db", "none.db", "--view"], "no such file"),
        (["--db", "no/folder/x.db", "--broker", "mqtt://127.0.0.1"], "No such file"),
        (["--db", "text.db", "--broker", "mqtt://127.0.0.1"], "not a database"),
    ],
)
def test_wrong_use_is_told_and_ends_with_two(tmp_path, arguments, words):
    (tmp_path / "text.db").write_text("a letter, not a ledger " * 100)
    arguments[1] = str(tmp_path / arguments[1])
    done = subprocess.run(linli(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=WAIT_MAX_S)
    assert done.returncode == 2
    assert words in done.stderr
    assert Counter(done.stderr.splitlines()).total() == 1, "one line, no traceback"

"""What the uplink's tests stand on: a gateway without pipeline, a watcher, the real city, and brokers of two kinds.

A test module asks for the fixtures by `pytest_plugins = ["uplink_rig"]`. (PYTEST_DONT_REWRITE: it is imported first.)
"""

import gzip
import json
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from conftest import Mosquitto
from paho.mqtt.enums import CallbackAPIVersion
from scripted_broker import Publish, ScriptedBroker

from gateway import link
from gateway.clock import SystemClock
from gateway.contract import Label, Record, Topics
from gateway.pending import Draft, Work
from gateway.reader import Reader
from gateway.schema import migrate
from gateway.storage import StorageThread, Stored
from gateway.store import Store
from gateway.uplink import Identity, Link, UplinkThread
from simulator.city import City
from simulator.ledger import Ledger
from simulator.relay import Relay

ROOT = Path(__file__).parent.parent
GATEWAY = "box-a"
TOPICS = Topics("linli", GATEWAY)
WAIT_S = 15.0
BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])


def wait(ready: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
    give_up_s = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < give_up_s, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Box:
    """Store, storage thread and uplink as build.py joins them; the pipeline is this test."""

    def __init__(self, folder: Path, url: str, **settings: object) -> None:
        self.boot = 0
        self.trouble = ""
        self.on_stored: Callable[[], None] = lambda: None
        dice = random.Random(str(sorted(folder.iterdir())))  # another epoch after something was lost
        self.store = Store(folder / "linli.db", self, dice, budget_mb=100)
        self.store.open("kernel")
        self.heads = self.store.heads()
        self.storage = StorageThread(self.store, time.monotonic, self._stored, self._troubled)
        self.uplink = UplinkThread(
            Link(url, GATEWAY, TOPICS, **({"keepalive_s": 10, "resend_s": 2.0} | settings)),  # type: ignore[arg-type]
            Identity(self.store.starts, self.boot, "cfg00000", {}),
            lambda: Reader(self.store.path), time.monotonic, random.Random(5), self.storage.put,
        )  # fmt: skip

    def label(self) -> Label:
        now_s = time.monotonic()
        return Label(self.boot, now_s, 1_800_000_000.0 + now_s, "ntp", None, "cfg00000")

    def start(self) -> "Box":
        self.storage.start()
        self.uplink.start()
        return self

    def _stored(self, stored: Stored) -> None:
        self.heads = stored.heads
        self.on_stored()
        self.uplink.stored(stored.heads, stored.generation)

    def _troubled(self, why: str) -> None:
        self.trouble = why

    def put(self, count: int, stream: str = "events", padding: int = 0) -> None:
        """`count` packs of one record each; padding: bytes that gzip does not make small."""
        self.storage.put(Work(self.drafts(count, stream, padding)))

    def drafts(self, count: int, stream: str = "events", padding: int = 0) -> list[Draft]:
        dice = random.Random(count)
        data = [{"value": i, "pad": dice.randbytes(padding // 2).hex()} for i in range(count)]
        label = self.label()
        return [Draft(stream, label, records=[Record("note", "box", label.mono, d).as_record()]) for d in data]

    @property
    def well(self) -> bool:
        return self.uplink.fault is None and self.storage.fault is None and not self.said

    @property
    def said(self) -> str:
        return self.uplink.state.trouble

    def close(self) -> None:
        self.uplink.close(3)
        self.storage.close(3)


MakeBox = Callable[..., Box]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrations run in a process of their own; once is enough."""
    path = tmp_path_factory.mktemp("template") / "linli.db"
    migrate(path)
    return path


@pytest.fixture
def make_box(tmp_path: Path, template: Path) -> Iterator[MakeBox]:
    """`make_box(url, **link)` is a gateway on the one database of this test, not yet started."""
    made: list[Box] = []

    def make(url: str, **settings: object) -> Box:
        if not (tmp_path / "linli.db").exists() and not (tmp_path / "heads.json").exists():
            shutil.copy(template, tmp_path / "linli.db")
        made.append(Box(tmp_path, url, **settings))
        return made[-1]

    yield make
    for box in made:
        if box.uplink._thread and box.uplink._thread.is_alive():
            box.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are not about how long it waits between two connections."""
    monkeypatch.setattr(link, "_BACKOFF_S", (0.005,))


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as scripted:
        yield scripted


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    made: list[Relay] = []

    def make(to_port: int, **settings: float) -> Relay:
        made.append(Relay(to_port, **settings).start())
        return made[-1]

    yield make
    for each in made:
        each.stop()


class Watcher:
    """Somebody who subscribes to everything of the box and remembers."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[tuple[str, dict]] = []
        self.retained: dict[str, dict] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="watcher", protocol=paho.MQTTv5)
        self._client.username_pw_set("watcher")
        self._client.on_message = self._take
        self._client.on_connect = lambda c, *_: c.subscribe("linli/#", qos=1)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert subscribed.wait(WAIT_S)

    def _take(self, _c: object, _u: object, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        self.heard.append((message.topic, body))
        if message.retain:
            self.retained[message.topic] = body

    def all(self, topic: str) -> list[dict]:
        return [body for heard, body in self.heard if heard == topic]

    def last(self, topic: str) -> dict:
        return (self.all(topic) or [{}])[-1]

    def close(self) -> None:
        self._client.disconnect()  # its thread ends by itself


@pytest.fixture
def watch() -> Iterator[Callable[[Mosquitto], Watcher]]:
    made: list[Watcher] = []

    def make(broker: Mosquitto) -> Watcher:
        made.append(Watcher(broker))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Ledgers:
    """The real city on a thread of its own; `away` ends it, and its session stays at the broker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop, self._thread = threading.Event(), None

    def at(self, url: str) -> None:
        self._stop = threading.Event()
        ready = threading.Event()

        def run(stop: threading.Event) -> None:
            ledger = Ledger(self._folder / "city.db", "linli")
            city = City(ledger, url, SystemClock(), random.Random(1), acking=True, say=lambda _: None)
            self.city = city
            ready.set()
            city.run(stop)
            ledger.close()

        self._thread = threading.Thread(target=run, args=(self._stop,), daemon=True)
        self._thread.start()
        assert ready.wait(WAIT_S) and self.city.listening.wait(WAIT_S)

    def away(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(WAIT_S)

    def held(self, epoch: str, stream: str = "events") -> set[int]:
        db = sqlite3.connect(f"file:{self._folder}/city.db?mode=ro", uri=True)
        rows = db.execute("SELECT n FROM packs WHERE epoch = ? AND stream = ?", (epoch, stream)).fetchall()
        db.close()
        return {n for (n,) in rows}


@pytest.fixture
def city(tmp_path: Path) -> Iterator[Ledgers]:
    ledgers = Ledgers(tmp_path)
    yield ledgers
    ledgers.away()


def names(published: list[Publish], stream: str = "events") -> list[int]:
    """Numbers of a stream as they came, repeats and all."""
    return [json.loads(unzipped(p.payload))["n"] for p in published if p.topic == TOPICS.up(stream)]


def unzipped(payload: bytes) -> bytes:
    return gzip.decompress(payload) if payload[:2] == b"\x1f\x8b" else payload


def ack(epoch: str, **upto: int) -> bytes:
    return json.dumps({"v": 1, "epoch": epoch, "streams": {s: {"upto": n} for s, n in upto.items()}}).encode()

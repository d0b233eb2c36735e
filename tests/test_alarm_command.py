"""`linli alarm` against a running gateway and its database: list, ack, reset, shelve, journal, over a restart."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import cli
from gateway.alarm_journal import latest, steps
from gateway.contract import Json, Label, Record
from gateway.control import Control
from gateway.pending import Pending
from gateway.reader import Reader
from gateway.store import Store

SITE = """
schema = 1
site = { id = "demo-centre", gateway = "demo-centre-a", name = "邻里示范社区服务中心" }
clock = { trust = "system" }
bus.n1 = { kind = "node", port = "link:n1", silent_s = 1 }
sensor.flow = { from = "n1:flow1" }
alarm.high = { name = "流量", severity = "urgent", any = ["flow > 0.0005"], ack = ["city"], shelve_h = 2 }
uplink = { broker = "mqtt://127.0.0.1:1" }
"""

Says = Callable[..., str]


@pytest.fixture
def says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Says:
    """What `linli alarm` says of the state folder."""

    def run(*words: str, code: int = 0) -> str:
        assert cli.main(["alarm", "--state", str(tmp_path / "state"), *words]) == code
        return "".join(capsys.readouterr())

    return run


@contextmanager
def gateway(folder: Path, says: Says) -> Iterator[None]:
    """A gateway whose line is not there, so that `source:n1` comes by itself."""
    (folder / "site.toml").write_text(SITE, encoding="utf-8")
    (folder / "links").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "gateway", "run", str(folder / "site.toml"), "--state", str(folder / "state")]
    process = subprocess.Popen([*command, "--links", str(folder / "links")], stderr=subprocess.PIPE, env=os.environ)
    try:
        until_s = time.monotonic() + 30
        while not (folder / "state/linli.sock").exists():
            assert process.poll() is None and time.monotonic() < until_s, process.stderr and process.stderr.read()
            time.sleep(0.1)
        while "source:n1" not in says("list"):
            assert process.poll() is None and time.monotonic() < until_s, process.stderr and process.stderr.read()
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_an_alarm_is_listed_acknowledged_shelved_and_read_back_over_a_restart(tmp_path, says) -> None:
    with gateway(tmp_path, says):
        assert re.fullmatch(r"source:n1：未确认，重要，[\d.]+ 秒，最先发生\n", says("list"))
        assert says("ack", "source:n1") == "source:n1：已确认\n"
        assert "没有可确认的" in says("ack", "source:n1", code=1)
        assert "source:n1 is acknowledged, expected latched" in says("--lang", "en", "reset", "source:n1", code=1)
        assert "expected it with shelve alone" in says("shelve", "source:n1", code=2)
        refused = says("--lang", "en", "--hours", "9", "shelve", "source:n1", code=1)
        assert refused == "source:n1 cannot be shelved for 9 h, expected at most 8 h; see to its cause\n"
        assert "不允许从“desk”" in says("--hours", "1", "shelve", "high", code=1)
        assert says("--hours", "0.5", "shelve", "source:n1") == "source:n1：已搁置\n"
        assert re.search("source:n1: shelved, high, .*, shelved by desk, 30 min left, its cause is there", says(
            "--lang", "en", "list"))  # fmt: skip
    with gateway(tmp_path, says):
        assert "source:n1: shelved" in says("--lang", "en", "list")
        assert says("--lang", "en", "unshelve", "source:n1") == "source:n1: unacknowledged\n"
        assert "expected one of the two" in says("--all", "ack", "source:n1", code=2)
        assert says("--lang", "en", "--all", "ack") == "source:n1: acknowledged\n"
        assert says("--all", "ack") == ""
        assert "expected shelved" in says("--lang", "en", "unshelve", "source:n1", code=1)
        assert "没有名为“nobody”的报警" in says("ack", "nobody", code=1)
    first, *rest = says("--lang", "en", "journal").splitlines()
    assert re.fullmatch(r"every step since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, when this database began", first)
    assert [line.split("  ", 1)[1] for line in rest] == [
        "source:n1  came  normal → unacknowledged  silent (1)  order 1",
        "source:n1  acknowledged  unacknowledged → acknowledged  by desk",
        "source:n1  shelved  acknowledged → shelved  30 min  by desk",
        "source:n1  unshelved  shelved → unacknowledged  by desk",
        "source:n1  acknowledged  unacknowledged → acknowledged  by desk",
    ]
    assert [json.loads(line)["what"] for line in says("--json", "journal", "source:n1").splitlines()] == [
        "came", "acknowledged", "shelved", "unshelved", "acknowledged",
    ]  # fmt: skip
    assert says("--lang", "en", "journal", "high") == "no step of an alarm is stored\n"


def test_without_gateway_or_database_it_says_what_was_expected(tmp_path, says) -> None:
    assert "没有数据库" in says("journal", code=1)
    assert "found no gateway running" in says("--lang", "en", "list", code=1)
    assert "expected the name of an alarm" in says("ack", code=2)
    assert "expected nothing" in says("list", "leak", code=2)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/linli.db").write_bytes(b"\xa5" * 5000)
    assert "expected a sound database" in says("--lang", "en", "journal", code=1)


def test_in_a_flood_urgent_alarms_are_listed_and_others_counted(tmp_path, says) -> None:
    def row(i: int) -> Json:
        severity = ("urgent", "high", "low")[i % 3]
        return {"alarm": f"a{i}", "name": "x", "state": "unacknowledged", "severity": severity, "since_s": 61.0,
                "active": True, "acknowledged": False, "order": i + 1, "first_out": i == 0, "group": "",
                "escalation": int(i == 3),
                "chatter": {"times": 9, "within_s": 4.0} if i == 6 else None}  # fmt: skip

    answer: Json = {"alarms": [row(i) for i in range(12)], "flood": {"alarms": 12, "first": "a0"}, "lang": "en"}

    async def alarms(_request: Json) -> Json:
        return answer

    (tmp_path / "state").mkdir()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    control = Control(tmp_path / "state", {"alarms": alarms})
    asyncio.run_coroutine_threadsafe(control.start(), loop).result(10)
    try:
        assert says("list").splitlines() == [
            "a flood of alarms: 12 so far, the first out was a0",
            "a0: unacknowledged, urgent, 61 s, first out",
            "a3: unacknowledged, urgent, 61 s, nobody acknowledged it, escalation 1",
            "a6: unacknowledged, urgent, 61 s, comes and goes too often (9 times in 4.0 s)",
            "a9: unacknowledged, urgent, 61 s",
            "not listed: 4 high, 4 low; linli alarm list --all lists them",
        ]
        assert len(says("--all", "list").splitlines()) == 13
    finally:
        asyncio.run_coroutine_threadsafe(control.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class Clock:
    """A box that learns the time only after its first alarm."""

    def __init__(self) -> None:
        self.boot, self.now_s, self.known = 0, 100.0, False

    def label(self) -> Label:
        wall = 1_800_000_000.0 + self.now_s if self.known else None
        return Label(self.boot, self.now_s, wall, "ntp" if self.known else "unsure", None, "cafe0001")


def test_a_step_before_the_clock_was_known_has_its_time_once_it_is(tmp_path) -> None:
    clock = Clock()
    store = Store(tmp_path / "linli.db", clock, random.Random(1))
    store.open("kernel")
    pending = Pending(clock.label, 10.0, 30.0)

    def tells(what: str) -> None:
        pending.record("alarms", Record("alarm", "leak", clock.now_s, {"alarm_id": "leak", "what": what}), clock.now_s)
        work = pending.take(clock.now_s, everything=True)
        assert work
        store.commit([work])

    def told() -> list[tuple[str, float | None]]:
        reader = Reader(tmp_path / "linli.db")
        try:
            return [(str(step.data["what"]), step.wall_s) for step in steps(reader)]
        finally:
            reader.close()

    tells("came")
    assert told() == [("came", None)]
    clock.now_s, clock.known = 160.0, True
    pending.clock_known(clock.label())
    tells("went")
    assert told() == [("came", 1_800_000_100.0), ("went", 1_800_000_160.0)]
    store.close()


def test_what_was_last_is_found_behind_many_packs_of_others_and_no_further_back_than_is_said(tmp_path) -> None:
    clock = Clock()
    store = Store(tmp_path / "linli.db", clock, random.Random(1))
    store.open("kernel")
    pending = Pending(clock.label, 10.0, 30.0)

    def tell(sort: str, subject: str) -> None:
        clock.now_s += 1
        pending.record("events", Record(sort, subject, clock.now_s, {"value": "close"}), clock.now_s)
        work = pending.take(clock.now_s, everything=True)
        assert work
        store.commit([work])

    def told(count: int) -> list[str]:
        reader = Reader(tmp_path / "linli.db")
        try:
            return [step.subject for step in latest(reader, count, "events", frozenset({"output.changed"}))]
        finally:
            reader.close()

    for n in range(450):
        tell("output.changed" if n in (10, 300) else "ticket.issued", f"v{n}")
    assert told(50) == ["v300", "v10"], "newest first"
    assert told(1) == ["v300"]
    for n in range(450, 2100):
        tell("ticket.issued", f"v{n}")
    assert told(50) == ["v300"], "2,000 packs back"
    store.close()

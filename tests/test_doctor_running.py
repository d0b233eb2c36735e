"""A gateway that runs is asked: what the doctor makes of its answers, the walk from sensor to sensor, the alarms."""

import asyncio
import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import cli, config, doctor
from gateway.control import Control, ask
from gateway.desk import Desk
from tests.doctor_place import ROOT, Findings, Place, examine


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def doctor_says(place: Place, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Findings]]:
    return lambda *more: examine(place, capsys, *more)


def bus_facts(**changed: object) -> dict[str, object]:
    facts = {"open": True, "error": "", "hello": True, "boot": 3, "received": 9, "durable": 9, "ring": 64, "good": 900,
             "bad": 0, "silent_s": 0.4, "beat": {}}  # fmt: skip
    return facts | changed


class FakeDesk:
    """A well box, until a test says otherwise."""

    def __init__(self, cfg: str) -> None:
        self.status: dict[str, object] = {
            "gateway": "centre-a", "cfg": cfg, "lang": "en", "epoch": "9f3c2a71", "clock": "ntp", "err_s": 0.05,
            "trouble": {"disk": "", "uplink": ""}, "uptime_s": 7200, "heads": {"health": 12, "readings": 40},
            "disk": {"db_mib": 1.5, "free_mib": 9000},
            "uplink": {"connected": True, "connections": 1, "packs": 5, "bytes": 9, "acked": {"health": 12}},
            "ports": {"n1": bus_facts()}, "model": "", "alarms": {}, "outputs": {},
            "values": {"main/flow": {"value": 0.0002, "age_s": 1.0}, "wc/cord": {"value": "normal", "age_s": 2.0}},
        }  # fmt: skip
        self.probe: dict[str, object] = {"stored": True, "acked": True, "n": 13, "took_s": 0.051}
        self.seen: list[dict[str, object]] = []
        self.asked: list[dict[str, object]] = []

    def asks(self) -> dict[str, object]:
        def answering(what: str) -> object:
            async def answer(request: dict[str, object]) -> dict[str, object]:
                self.asked.append(request)
                if what == "seen":
                    if not self.seen:
                        await asyncio.sleep(0.05)
                        return {"changed": False, "was": request.get("was"), "value": request.get("was")}
                    return self.seen.pop(0)
                return self.status if what == "status" else self.probe

            return answer

        return {word: answering(word) for word in ("status", "probe", "seen")}

    def asked_for(self, word: str) -> list[dict[str, object]]:
        return [request for request in self.asked if request["ask"] == word]


@pytest.fixture
def desk(place: Place) -> Iterator[FakeDesk]:
    """Behind a real control socket in the state folder, on a loop of its own."""
    place.state.mkdir()
    fake = FakeDesk(config.load(place.site).cfg)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    control = Control(place.state, fake.asks())  # type: ignore[arg-type]
    asyncio.run_coroutine_threadsafe(control.start(), loop).result(10)
    yield fake
    asyncio.run_coroutine_threadsafe(control.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_a_well_box_has_an_ok_on_every_line_and_leaves_with_zero(desk, doctor_says) -> None:
    code, lines = doctor_says()
    assert code == 0
    assert {line["verdict"] for line in lines.values()} == {"ok"}
    assert set(lines) == {
        "site file", "gateway", "n1", "main/flow", "wc/cord", "clock", "disk", "alarms", "uplink", "probe",
    }  # fmt: skip
    assert lines["main/flow"]["found"] == "12.00 L/min, 1.0 s ago"
    assert lines["probe"]["found"] == "the city's ledger acknowledged pack 13 within 51 ms"


@pytest.mark.parametrize(
    "line", [b"[" * 60_000, b"3", b"[]", b"{}", b'{"ask": ["status"]}', b"\xff\x00", b'{"ask": "status"']
)
def test_whatever_is_written_into_the_socket_is_answered_in_a_sentence(desk, place: Place, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(10)
        channel.connect(str(place.state / "linli.sock"))
        channel.sendall(line + b"\n" + b'{"ask": "status"}\n')
        with channel.makefile() as said:
            assert "expected" in json.loads(said.readline())["error"]
            assert "ok" in json.loads(said.readline())


def test_a_sensor_without_a_reading_is_never_fine(desk, doctor_says) -> None:
    desk.status["values"] = {"wc/cord": {"value": "normal", "age_s": float("inf")}}  # remembered from before the start
    code, lines = doctor_says()
    assert code == 1
    for sensor, point in (("main/flow", "n1:flow1"), ("wc/cord", "n1:loop1")):
        assert (lines[sensor]["verdict"], lines[sensor]["found"]) == ("FAIL", f"no reading yet ({point})")


@pytest.mark.parametrize(
    ("sensor", "value", "age_s", "verdict", "words"),
    [
        ("wc/cord", "cut", 1.0, "FAIL", "the loop at n1:loop1 is cut"),
        ("wc/cord", "short", 1.0, "FAIL", "shorted"),
        ("wc/cord", "alarm", 1.0, "warn", "pulled now"),
        ("main/flow", 0.5, 1.0, "warn", "outside 0.00 L/min to 600.00 L/min"),
        ("main/flow", 0.0, 121.0, "FAIL", "2 min old"),
        ("wc/cord", "normal", 601.0, "FAIL", "10 min old"),
    ],
)
def test_what_a_value_tells(desk, doctor_says, sensor, value, age_s, verdict, words) -> None:
    desk.status["values"][sensor] = {"value": value, "age_s": age_s}
    code, lines = doctor_says()
    assert lines[sensor]["verdict"] == verdict
    assert words in lines[sensor]["found"]
    assert lines[sensor]["do"]
    assert code == (verdict == "FAIL")


@pytest.mark.parametrize(
    ("facts", "verdict", "words"),
    [
        ({"open": False, "error": "/dev/x: found it opened by cat (pid 7), expected it free; stop that program"},
         "FAIL", "/dev/x is opened by cat (pid 7)"),
        ({"open": False}, "FAIL", "not open"),
        ({"hello": False, "good": 0}, "FAIL", "not one byte"),
        ({"hello": False, "good": 4}, "FAIL", "no HELLO"),
        ({"hello": False, "good": 0, "bad": 4}, "FAIL", "no intact frame"),
        ({"silent_s": 16.0}, "FAIL", "silent for 16 s (15 s allowed)"),
        ({"refused": "found loop9_hold_ms"}, "FAIL", "the node refuses its settings: found loop9"),
        ({"bad": 90}, "warn", "900 good, 90 bad"),
        ({"bad": 2}, "ok", "2 bad"),
    ],
)  # fmt: skip
def test_what_a_bus_tells(desk, doctor_says, facts, verdict, words) -> None:
    desk.status["ports"]["n1"] = bus_facts(**facts)
    _, lines = doctor_says()
    assert lines["n1"]["verdict"] == verdict
    assert words in lines["n1"]["found"]


def test_a_ledger_that_is_silent_fails_and_names_the_topic(desk, doctor_says) -> None:
    desk.probe = {"stored": True, "acked": False, "n": 13, "took_s": 10.1}
    code, lines = doctor_says()
    assert code == 1
    assert "pack 13 was not acknowledged within 10 s" in lines["probe"]["found"]
    assert "linli/v1/centre-a/up/health" in lines["probe"]["do"]


def test_a_probe_that_never_got_to_the_disk_blames_the_disk_and_not_the_city(desk, doctor_says) -> None:
    desk.probe = {"stored": False, "acked": False, "n": 12, "took_s": 10.1}
    assert "not on the disk" in doctor_says()[1]["probe"]["found"]


def test_without_a_connection_no_probe_is_waited_for(desk, doctor_says) -> None:
    desk.status["uplink"]["connected"] = False
    desk.status["trouble"]["uplink"] = "ConnectionRefusedError: [Errno 111] Connection refused"
    _, lines = doctor_says()
    assert "refuses the connection" in lines["uplink"]["found"]
    assert lines["probe"]["verdict"] == "FAIL"
    assert desk.asked_for("probe") == []


@pytest.mark.parametrize(
    ("changed", "name", "verdict", "words"),
    [
        ({"clock": "unsure", "err_s": None}, "clock", "warn", "not to be believed"),
        ({"disk": {"db_mib": 1.0, "free_mib": 300}}, "disk", "warn", "300.0 MiB free"),
        ({"disk": {"db_mib": 1.0, "free_mib": 99}}, "disk", "FAIL", "only 99.0 MiB free"),
        ({"trouble": {"disk": "the disk is full: x", "uplink": ""}}, "disk", "FAIL", "the disk is full"),
        ({"cfg": "00000000"}, "gateway", "warn", "other settings"),
        ({"gateway": "other-b"}, "gateway", "FAIL", "other-b runs here"),
        ({"alarms": {"leak": "latched"}}, "alarms", "warn", "leak: latched"),
        ({"alarms": dict.fromkeys(map(str, range(500)), "shelved")}, "alarms", "warn", "9: shelved, … 500 in all"),
        ({"heads": {"readings": 2000}}, "uplink", "warn", "2000 packs"),
        ({"ports": {}}, "n1", "FAIL", "does not know this bus"),
        ({"uptime_s": "long"}, "gateway", "FAIL", "cannot be read"),
    ],
)  # fmt: skip
def test_what_a_box_tells(desk, doctor_says, changed, name, verdict, words) -> None:
    desk.status |= changed
    code, lines = doctor_says()
    assert lines[name]["verdict"] == verdict, lines[name]
    assert words in lines[name]["found"]
    assert code == any(line["verdict"] == "FAIL" for line in lines.values())


def test_a_model_that_is_not_at_work_fails(place, desk, doctor_says) -> None:
    condition = "model:water-leak on main/flow > 0.9 for 10 min"
    place.write(more=f'alarm.leak = {{ name = "Leak", severity = "urgent", any = ["{condition}"] }}')
    desk.status |= {"cfg": config.load(place.site).cfg, "model": "its signature is wrong"}
    _, lines = doctor_says()
    assert lines["model"]["verdict"] == "FAIL"
    assert "its signature is wrong" in lines["model"]["found"]


def test_lines_stand_in_columns_and_in_the_sites_language(place, desk, capsys) -> None:
    place.write(lang="zh-CN")
    desk.status["cfg"] = config.load(place.site).cfg
    assert cli.main(place.arguments()) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "10 项正常，0 项注意，0 项失败"
    assert {doctor._columns(line[: line.index(" ok ")]) for line in said[:-1]} == {len("main/flow") + 1}
    assert cli.main(place.arguments("--lang", "en")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "10 ok, 0 warn, 0 FAIL"


# -- the walk ----------------------------------------------------------------------------------------------------------


def came(was: object, value: object, stored: bool = True, acked: bool = True) -> dict[str, object]:
    return {"changed": True, "was": was, "value": value, "stored": stored, "acked": acked}


def test_the_walk_ticks_each_sensor_through_to_the_city(place, desk, capsys) -> None:
    desk.seen = [came(0.0, 0.0002), came("normal", "alarm")]
    assert cli.main(place.arguments("--walk")) == 0
    said = capsys.readouterr().out
    assert "main/flow (Main): let water run now" in said
    assert "✓ seen 0.00 L/min → 12.00 L/min ✓ stored ✓ held by the city" in said
    assert "wc/cord (Cord): pull the cord now" in said
    assert "✓ seen idle → pulled" in said
    assert said.splitlines()[-1] == "2 sensors: 2 passed, 0 skipped, 0 failed"


def test_what_the_city_does_not_hold_is_not_passed(place, desk, capsys) -> None:
    desk.seen = [came(0.0, 0.1, acked=False), came("normal", "alarm", stored=False, acked=False)]
    assert cli.main(place.arguments("--walk")) == 1
    said = capsys.readouterr().out
    assert "✓ stored ✗ not confirmed by the city" in said
    assert "✗ not stored" in said
    assert said.splitlines()[-1] == "2 sensors: 0 passed, 0 skipped, 2 failed"


def test_a_contacts_first_word_is_no_pull(place, desk, doctor_says) -> None:
    desk.seen = [came(0.0, 0.1), came(None, "normal"), came("normal", "alarm")]
    _, lines = doctor_says("--walk")
    assert lines["wc/cord"]["found"].startswith("seen idle → pulled")
    assert [request.get("was") for request in desk.asked_for("seen")] == [None, None, "normal"]


def test_a_sensor_that_stays_the_same_is_given_up_after_its_time(desk, doctor_says, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "WALK_WAIT_S", 0.2)
    code, lines = doctor_says("--walk")
    assert code == 1
    assert "no change" in lines["wc/cord"]["found"]
    assert "n1:loop1" in lines["wc/cord"]["do"]


def test_the_walk_needs_a_gateway_and_says_so(place, capsys) -> None:
    assert cli.main(place.arguments("--walk")) == 1
    said = capsys.readouterr().out
    assert "no gateway runs" in said
    assert "linli run SITE --state DIR" in said


def test_s_skips_a_sensor_and_the_summary_says_so(place, desk) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "gateway", *place.arguments("--walk")]
    with subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, cwd=ROOT) as walk:
        assert walk.stdout
        said = b""
        while b"pull the cord" not in said:
            line = walk.stdout.readline()
            said += line
            if b"let water run" in line or b"pull the cord" in line:
                os.write(master, b"s")
        said += walk.stdout.read()
        assert walk.wait(20) == 0
    os.close(master)
    os.close(slave)
    assert said.decode().splitlines()[-1] == "2 sensors: 0 passed, 2 skipped, 0 failed"


# -- the desk behind the socket --------------------------------------------------------------------------------------


class FakeBox:
    """A box whose storage is as quick as a contact's: what is read is committed before anybody looks."""

    def __init__(self) -> None:
        self.heads = {"health": 5, "readings": 8}
        self.value: object = "normal"
        self.held = {"readings": 8}
        self.pipeline = self

    def values(self) -> dict[str, tuple[object, float]]:
        return {"wc/cord": (self.value, 1.0)}

    def pull(self) -> None:
        self.value = "alarm"
        self.heads = self.heads | {"readings": 9}

    def note(self, stream: str, record: object) -> None:
        self.heads = self.heads | {stream: self.heads[stream] + 1}
        self.held = {"readings": self.heads["readings"]}

    def acked(self) -> dict[str, int]:
        return self.held


def test_a_reading_committed_before_anybody_looked_is_still_seen_stored_and_held(place) -> None:
    box = FakeBox()
    desk = Desk(box, config.load(place.site), time.monotonic)  # type: ignore[arg-type]

    async def walk() -> dict[str, object]:
        asyncio.get_running_loop().call_later(0.1, box.pull)
        return await desk.asks()["seen"]({"sensor": "wc/cord", "wait_s": 5})

    began_s = time.monotonic()
    assert asyncio.run(walk()) == came("normal", "alarm")
    assert time.monotonic() - began_s < 2


@pytest.mark.slow
def test_a_real_gateway_answers_what_the_doctor_and_the_alarm_command_ask(place, doctor_says, capsys) -> None:
    place.write(more='alarm.pull = { name = "Pull", severity = "urgent", any = ["wc/cord is pulled"] }')
    command = [sys.executable, "-m", "gateway", "run", str(place.site), "--state", str(place.state)]
    gateway = subprocess.Popen([*command, "--links", str(place.links)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + 20
        while not (place.state / "linli.sock").exists() and time.monotonic() < until_s:
            time.sleep(0.05)
        while not ask(place.state, {"ask": "status"})["trouble"]["uplink"] and time.monotonic() < until_s:
            time.sleep(0.05)
        code, lines = doctor_says()
        state = ["--state", str(place.state)]
        assert cli.main(["alarm", *state, "list"]) == 0
        assert capsys.readouterr().out == "none stands\n"
        assert cli.main(["alarm", *state, "ack", "pull"]) == 1
        assert "pull is normal" in capsys.readouterr().err
        assert cli.main(["alarm", *state, "reset", "nobody"]) == 1
        assert "there is no alarm nobody; there is: pull, source:n1" in capsys.readouterr().err
        assert cli.main(["db", *state, "migrate"]) == 1
        assert "already running" in capsys.readouterr().err
    finally:
        gateway.terminate()
        assert gateway.wait(20) == 0
    assert code == 1
    assert lines["gateway"]["verdict"] == lines["disk"]["verdict"] == lines["clock"]["verdict"] == "ok"
    assert "no port" in lines["n1"]["found"]
    assert "no reading yet" in lines["main/flow"]["found"]
    assert "refuses the connection" in lines["uplink"]["found"]


def test_an_alarm_is_asked_of_a_gateway_or_not_at_all(place, capsys) -> None:
    assert cli.main(["alarm", "--state", str(place.state), "list", "--lang", "en"]) == 1
    assert "found no gateway running" in capsys.readouterr().err
    assert cli.main(["alarm", "--state", str(place.state), "ack"]) == 2
    assert "expected the name of an alarm" in capsys.readouterr().err

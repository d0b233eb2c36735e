"""What the city's commands do to a whole gateway, on a clock of its own: done, told, answered once it is durable."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drivers.node_frame import DATA, EVENT
from gateway.contract_commands import OPERATE, READ, envelope
from gateway.contract_schema import schemas
from gateway.model_packages import PACKAGES, install
from simulator.cost_rig import CostRig
from tests.command_rig import CITY, body, signed
from tests.test_model_packages import KEYS, package

STRICT = {name: Draft202012Validator(schema) for name, schema in schemas(strict=True).items()}

SITE = """
schema = 1
site = { id = "house", gateway = "house-a", name = "屋" }
clock = { trust = "system" }
bus.n1 = { kind = "node", port = "link:n1", silent_s = 3600 }
sensor."cellar/rope" = { from = "n1:contact1", kind = "leak" }
sensor."cellar/flow" = { from = "n1:flow1", report = { every_s = 60 } }
sensor."toilet/cord" = { from = "n1:contact2", kind = "pull-cord" }
output.valve = { to = "gpio:5", kind = "valve", approved_by = "物业", travel_s = 1 }
alarm.leak = { name = "漏水", severity = "urgent", any = ["cellar/rope is wet"] }
alarm.cord = { name = "求助", severity = "urgent", any = ["toilet/cord is pulled"], latch = true, clear = "on-site" }
alarm.desk = { name = "只在现场", severity = "low", any = ["cellar/rope is wet"], ack = ["desk"] }

[uplink]
broker = "mqtt://127.0.0.1"
obey = ["read", "operate"]
keys = ["file:city.pub"]
"""


class Rig(CostRig):
    """A gateway whose city sends commands; what it publishes is kept."""

    def published(self, topic: str, payload: bytes, retain: bool) -> None:
        name = topic.removeprefix("linli/v1/house-a/")
        self.heard.setdefault(name, []).append(json.loads(payload))
        if name != "result":
            super().published(topic, payload, retain)

    def command(self, kind: str, payload: bytes, wait_s: float = 1.0) -> list[dict[str, Any]]:
        """The results that came for it."""
        before = len(self.heard.get("result", []))
        assert self.wire
        self.wire.hear(f"linli/v1/house-a/down/{kind}", payload)
        self.go(wait_s)
        found = self.heard.get("result", [])[before:]
        for one in found:
            STRICT["result"].validate(one)
        return found

    def operate(self, do: str, **args: Any) -> dict[str, Any]:
        self.asked += 1
        [found] = self.command(OPERATE, signed(self.body(do, args)))
        return found

    def read(self, do: str, **args: Any) -> dict[str, Any]:
        self.asked += 1
        [found] = self.command(READ, envelope(json.dumps(self.body(do, args)), None))
        return found

    def body(self, do: str, args: dict[str, Any]) -> dict[str, Any]:
        now_s = self.clock.wall_s()
        name = f"request-{self.asked:06}"
        return body(do=do, args=args, request_id=name, session=self.session, expires_at=now_s + 60)

    @property
    def session(self) -> int:
        found: int = self.heard["status"][-1]["session"]
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        packs = self.heard.get("up/events", [])
        events = [record for pack in packs for record in pack["records"] if record.get("type") == f"linli.{kind}.v1"]
        return [event["data"] for event in events]

    asked = 0


def wet(folder: Path, site: str = SITE) -> Iterator[Rig]:
    """A gateway whose rope is wet and whose cord is pulled."""
    (folder / "site.toml").write_text(site.replace("[uplink]", "[uplink]\ngzip = false"))
    (folder / "city.pub").write_text(CITY.public.as_text())
    made = Rig(folder / "site.toml", folder / "state")
    made.heard = {}
    with made:
        made.go(1.0)
        made.side = made.node("n1", 64, "sim-1.0;contact*2 flow*1")
        made.go(2.0)
        for point in (0, 1):
            made.side.add(EVENT, point, 1.0)
        made.side.add(DATA, 2, 1e-5)
        made.go(3.0)
        yield made


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    yield from wet(tmp_path)


@pytest.fixture
def shut(tmp_path: Path) -> Iterator[Rig]:
    """The leak has closed the valve, until somebody on the spot opens it."""
    react = 'reaction.shut = { when = "alarm.leak active", do = "valve close", undo = "on-site" }\n\n[uplink]'
    yield from wet(tmp_path, SITE.replace("[uplink]", react))


def test_an_alarm_is_acknowledged_by_the_city_and_the_records_say_so(rig: Rig) -> None:
    assert rig.heard["state"][-1]["alarms"]["leak"] == "unacknowledged"
    found = rig.operate("acknowledge", alarm="leak")
    assert (found["status"], found["data"]) == ("done", {"done": True, "state": "acknowledged"})
    assert rig.heard["up/alarms"][-1]["records"][0]["data"]["by"] == "city:张三"
    [told] = rig.events("command.done")
    assert told == {"value": "acknowledge", "request_id": "request-000001", "by": "张三", "key": CITY.public.name}
    for pack in rig.heard["up/events"]:
        STRICT["pack-events"].validate(pack)


def test_shelving_ends_and_what_the_site_file_leaves_to_the_spot_is_refused(rig: Rig) -> None:
    assert rig.operate("shelve", alarm="leak", hours=1)["data"] == {"done": True, "state": "shelved"}
    assert rig.operate("unshelve", alarm="leak")["data"]["done"] is True
    rig.side.add(EVENT, 1, 0.0)
    rig.go(2.0)
    for found, said in (
        (rig.operate("reset", alarm="cord"), "found reset of cord from city, expected from desk or button or page"),
        (rig.operate("acknowledge", alarm="desk"), "found acknowledge of desk from city, expected from desk; do it"),
        (rig.operate("acknowledge", alarm="nothing"), "found alarm 'nothing', expected one of leak, cord, desk"),
        (rig.operate("shelve", alarm="leak", hours=20), "expected at most 8 h"),
    ):
        assert (found["status"], found["reason"]) == ("refused", "not-possible")
        assert said in found["why"]
    refused = rig.events("command.refused")
    assert [(event["value"], event["do"]) for event in refused][:2] == [
        ("not-possible", "reset"),
        ("not-possible", "acknowledge"),
    ]


def test_the_city_lets_a_model_run_as_shadow_and_promotes_it(tmp_path: Path) -> None:
    install(package(tmp_path / "new"), KEYS, tmp_path / "state" / PACKAGES)
    model = (
        'alarm.flow = { name = "流", severity = "low", any = ["model:water-leak on cellar/flow > 0.9"] }\n\n[uplink]'
    )
    for rig in wet(tmp_path, SITE.replace("[uplink]", model)):
        refused = rig.operate("model", deed="promote", model="water-leak")
        assert (refused["status"], refused["reason"]) == ("refused", "not-possible")
        assert "found no shadow, expected one" in refused["why"]
        [shadow] = rig.operate("model", deed="shadow", model="water-leak", version="2.0.0", after_days=14)["data"][
            "models"
        ]
        assert (shadow["active"], shadow["other"], shadow["promote_min"]) == ("1.0.0", "2.0.0", 14 * 1440)
        [now] = rig.operate("model", deed="promote", model="water-leak")["data"]["models"]
        assert (now["active"], now["on_probation"]) == ("2.0.0", True)
        rig.go(2.0)
        assert [event["by"] for event in rig.events("model.decided")] == ["city:张三", "city:张三"]
        for pack in rig.heard["up/events"]:
            STRICT["pack-events"].validate(pack)


def test_an_output_is_held_and_let_go_and_a_mode_begins_and_ends(rig: Rig) -> None:
    held = rig.operate("output", output="valve", action="close", minutes=5)["data"]
    assert held["energised"] is True and held["hand"]["by"] == "city:张三"
    assert rig.operate("output", output="valve", action="auto")["data"] == {"energised": False, "hand": None}
    assert "0.0 minutes, expected more than 0" in rig.operate("output", output="valve", action="close")["why"]
    assert "found output 'gate', expected one of valve" in rig.operate("output", output="gate", action="auto")["why"]
    [mode] = rig.operate("mode", mode="test", minutes=5)["data"]["modes"]
    assert (mode["mode"], mode["by"]) == ("test", "city:张三")
    assert rig.operate("mode", mode="end")["data"]["modes"] == []


def test_what_a_leak_has_shut_the_city_cannot_open(shut: Rig) -> None:
    assert shut.box.state()["outputs"]["valve"] is True
    for action in ("auto", "open"):
        found = shut.operate("output", output="valve", action=action, minutes=5)
        assert found["reason"] == "not-possible"
        assert "which a reaction holds until somebody on the spot lets go of it" in found["why"]
    assert shut.box.state()["outputs"]["valve"] is True


def test_a_command_delivered_twice_is_done_once_and_answered_twice(rig: Rig) -> None:
    payload = signed(rig.body("output", {"output": "valve", "action": "close", "minutes": 5}))
    [first], [second] = rig.command(OPERATE, payload), rig.command(OPERATE, payload)
    assert second.pop("again") is True
    assert second | {"mono": 0} == first | {"mono": 0}
    assert len(rig.events("output.asked")) == len(rig.events("command.done")) == 1


def test_a_command_is_not_done_again_after_a_restart_and_nothing_of_it_is_in_a_snapshot(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE.replace("[uplink]", "[uplink]\ngzip = false"))
    (tmp_path / "city.pub").write_text(CITY.public.as_text())
    results = []
    payload = b""
    for _ in range(2):
        made = Rig(tmp_path / "site.toml", tmp_path / "state")
        made.heard = {}
        with made:
            made.go(2.0)
            payload = payload or signed(made.body("mode", {"mode": "test", "minutes": 5}))
            results += made.command(OPERATE, payload)
            assert len(made.events("mode.began")) == 2 - len(results)
            assert "request-000000" not in json.dumps(made.read("snapshot")) + json.dumps(made.heard["up/health"])
    first, second = results
    assert second.pop("again") is True
    assert (second["status"], second["data"]) == (first["status"], first["data"])


def test_whatever_is_sent_has_one_answer_or_is_counted_and_the_box_goes_on(rig: Rig) -> None:
    """A good command with a few bytes changed, 300 times; seeded."""
    dice, said = random.Random(11), []
    uplink = rig.box._parts.uplink
    answer = uplink.answer

    def counted(result: bytes | None) -> None:
        said.append(result)
        answer(result)

    uplink.answer = counted
    for i in range(300):
        payload = bytearray(signed(rig.body("acknowledge", {"alarm": "leak"}) | {"request_id": f"mutant-{i:06}"}))
        for _ in range(dice.randint(1, 3)):
            payload[dice.randrange(len(payload))] = dice.randrange(256)
        results = rig.command(dice.choice((OPERATE, READ)), bytes(payload), 0.3)
        assert len(said) == i + 1, payload
        assert len(results) == (said[-1] is not None), payload
    assert rig.operate("acknowledge", alarm="leak")["status"] == "done"


def test_the_answer_waits_for_the_disk(rig: Rig) -> None:
    put, held = rig.storage.put, []
    rig.storage.put = held.append
    try:
        answered = rig.command(OPERATE, signed(rig.body("acknowledge", {"alarm": "leak"})))
        state = rig.box.state()["alarms"]["leak"]
    finally:
        rig.storage.put = put
    assert (answered, state) == ([], "acknowledged")  # done at once, all the same
    for item in held:
        put(item)
    rig.go(1.0)
    assert [result["status"] for result in rig.heard["result"]] == ["done"]


def test_the_same_command_again_is_answered_no_sooner_than_the_first(rig: Rig) -> None:
    payload = signed(rig.body("acknowledge", {"alarm": "leak"}))
    put, held = rig.storage.put, []
    rig.storage.put = held.append
    try:
        assert rig.command(OPERATE, payload) + rig.command(OPERATE, payload) == []
    finally:
        rig.storage.put = put
    for item in held:
        put(item)
    rig.go(1.0)
    assert [result.get("again", False) for result in rig.heard["result"]] == [False, True]


def test_a_stranger_writes_no_lines_of_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    found = rig.read("state\n2026-11-26 all is well\x1b[2J")
    [result] = rig.command(READ, envelope(json.dumps(rig.body("state", {}) | {"\x1b[2J\nroot": 1}), None))
    assert (found["reason"], result["reason"]) == ("unknown", "unreadable")
    assert "root" in result["why"]
    for record in [*caplog.messages, result["why"], json.dumps(rig.events("command.refused"), ensure_ascii=False)]:
        assert record.isprintable()


def test_reads_tell_how_it_is(rig: Rig) -> None:
    assert rig.read("state")["data"]["alarms"]["leak"] == "unacknowledged"
    assert "heads" in rig.read("health")["data"]
    assert rig.events("command.done") == []


def test_a_snapshot_is_told_anew_and_its_number_is_in_the_answer(rig: Rig) -> None:
    found = rig.read("snapshot")["data"]
    told = [pack for pack in rig.heard["up/health"] if "snapshot" in json.dumps(pack["records"])]
    assert (found["stream"], found["parts"]) == ("health", 1)
    assert len(told) == 2 and told[-1]["n"] <= found["heads"]["health"]
    again = rig.read("snapshot")
    assert (again["reason"], "expected 10 s between two" in again["why"]) == ("not-possible", True)


def test_raw_samples_of_a_span_come_as_packs_up_to_the_head_of_the_answer(rig: Rig) -> None:
    for i in range(5):
        rig.side.add(DATA, 2, 1e-5 * i)
        rig.go(1.0)
    now_s = rig.clock.wall_s()
    found = rig.read("samples", **{"sensor": "cellar/flow", "from": now_s - 60, "to": now_s})["data"]
    assert found["name"] == "cellar/flow/raw"
    raw = [
        (record["v"], pack["n"])
        for pack in rig.heard["up/readings"] for record in pack["records"] if record.get("n") == "cellar/flow/raw"
    ]  # fmt: skip
    assert [value for value, _ in raw] == pytest.approx([1e-5, 0.0, 1e-5, 2e-5, 3e-5, 4e-5])
    assert all(n <= found["heads"]["readings"] for _, n in raw)
    for args, said in (
        ({"sensor": "cellar/rope"}, "expected one of which samples are kept: cellar/flow"),
        ({"from": now_s - 4000}, "expected more than 0, 3600 at most; ask in pieces"),
        ({"from": now_s + 1}, "expected more than 0, 3600 at most"),
    ):
        asked = {"sensor": "cellar/flow", "from": now_s - 60, "to": now_s} | args
        assert said in rig.read("samples", **asked)["why"]


def test_packs_are_sent_again_and_numbers_that_are_none_are_refused(rig: Rig) -> None:
    epoch = rig.heard["status"][-1]["epoch"]
    alarms = [pack["n"] for pack in rig.heard["up/alarms"]]
    assert rig.read("packs", epoch=epoch, stream="alarms", ranges=[[1, 2]])["data"] == {"stream": "alarms", "packs": 2}
    assert [pack["n"] for pack in rig.heard["up/alarms"]] == [*alarms, 1, 2]
    for args, said in (
        ({"stream": "gossip"}, "found stream 'gossip', expected one of alarms"),
        ({"epoch": "00000000"}, "the one in force; packs of an older one are asked for by `missing` in down/ack"),
        ({"ranges": [[1, 10_000]]}, "expected first <= last <="),
        ({"ranges": [[2, 1]]}, "expected first <= last <="),
    ):
        assert said in rig.read("packs", **{"epoch": epoch, "stream": "alarms", "ranges": [[1, 1]]} | args)["why"]


def test_a_flood_of_commands_is_answered_busy_and_fills_no_disk(rig: Rig) -> None:
    """200 in one turn of the uplink: 16 are handed on, 16 are told busy, the rest is counted."""
    before = len(rig.heard.get("result", []))
    for i in range(200):
        rig.wire.hear("linli/v1/house-a/down/operate", envelope(json.dumps(body(request_id=f"flood-{i:06}")), None))
    rig.go(2.0)
    results = rig.heard["result"][before:]
    assert Counter(result["reason"] for result in results) == {"unsigned": 16, "busy": 16}
    assert any("168 commands were not answered" in trouble for trouble in rig.box.health()["troubles"])
    assert len(rig.events("command.refused")) == 10
    assert rig.operate("acknowledge", alarm="leak")["status"] == "done"
    rig.go(70.0)
    assert not any("commands were not answered" in trouble for trouble in rig.box.health()["troubles"])


def test_what_a_long_word_says_is_cut_where_it_is_quoted(rig: Rig) -> None:
    """Else ten refusals would not fit a message."""
    found = rig.operate("x" * 9000)
    assert found["reason"] == "unknown" and len(found["why"]) < 300
    [result] = rig.command(READ, envelope(json.dumps(rig.body("state", {}) | {"y" * 9000: 1}), None))
    assert (result["reason"], len(result["why"])) == ("unreadable", 1000)
    assert max(len(json.dumps(event)) for event in rig.events("command.refused")) < 1500


def test_a_mistake_of_our_own_is_answered_too_and_the_next_command_is_heard(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(rig.pipeline, "acknowledge", lambda *_: 1 / 0)
        assert "found ZeroDivisionError" in rig.operate("acknowledge", alarm="leak")["why"]
    assert rig.operate("acknowledge", alarm="leak")["data"]["done"] is True


def test_one_result_is_under_way_at_a_time(rig: Rig) -> None:
    """So that an alarm never waits behind more than one."""
    assert rig.wire
    wire, publish, open_mids, most = rig.wire, rig.wire.publish, set(), []
    answered = wire._listener.published

    def watched(topic: str, payload: bytes, *, retain: bool) -> tuple[int, str]:
        mid, lost = publish(topic, payload, retain=retain)
        if topic.endswith("/result"):
            open_mids.add(mid)
            most.append(len(open_mids))
        return mid, lost

    def taken(mid: int, refusal: str) -> None:
        open_mids.discard(mid)
        answered(mid, refusal)

    wire.publish, wire._listener.published = watched, taken
    for i in range(10):
        said = rig.body("state", {}) | {"request_id": f"request-{i:06}"}
        wire.hear("linli/v1/house-a/down/read", envelope(json.dumps(said), None))
    rig.go(1.0)
    assert most == [1] * 10


def test_a_key_that_is_not_there_is_told_and_what_it_signed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    made = Rig(tmp_path / "site.toml", tmp_path / "state")
    made.heard = {}
    with made:
        made.go(1.0)
        assert any("city.pub: [Errno 2]" in trouble for trouble in made.box.health()["troubles"])

"""A replaced box goes on from what the city's ledger holds: latches, occurrences, outputs, counts."""

import json
import random
from pathlib import Path

import msgspec
import pytest

from drivers.reading import Reading
from gateway import cli, snapshot
from gateway.contract import PACK_BYTES_MAX, Label, Record
from gateway.home import Home
from gateway.pending import Pending
from gateway.reader import Reader
from gateway.store import Store
from tests.test_leak_to_city import TOPICS, Centre


def published(store: Store, folder: Path) -> list[dict]:
    """Health packs as the city gets them, after the first."""
    reader = Reader(folder / "linli.db")
    rows = reader.after(store.epoch_no, "health", 1, 10_000, 10_000)
    payloads = [reader.payload(row, TOPICS) for row in rows]
    reader.close()
    assert all(len(payload) <= PACK_BYTES_MAX for payload in payloads)
    return [json.loads(payload) for payload in payloads]


def told(centre: Centre) -> None:
    for data in snapshot.parts(centre.pending.kept):
        centre.pending.apart("health", Record("snapshot", "box", centre.now_s, data), centre.now_s)
    centre.store.commit([centre.pending.take(centre.now_s, everything=True)])


@pytest.fixture
def latched(tmp_path) -> tuple[Centre, list[dict]]:
    """A centre whose cord was pulled and let go, and what the city got of its snapshot."""
    (tmp_path / "old").mkdir()
    centre = Centre(tmp_path / "old")
    for seq, state in enumerate(("normal", "alarm", "normal"), 1):
        centre.now_s += 1
        centre.pipeline.handle([Reading("n1:loop1", state, centre.now_s, 1, seq)])
    assert centre.pipeline.standing() == {"cord": "latched"}
    told(centre)
    return centre, published(centre.store, tmp_path / "old")


def restored(folder: Path, content: object) -> int:
    file = folder / "snapshot.json"
    file.write_text(json.dumps(content))
    return cli.main(["db", "--state", str(folder / "new"), "restore-snapshot", str(file)])


@pytest.mark.parametrize("form", ["packs", "records", "record"])
def test_a_new_box_stands_where_the_old_one_stood(latched, tmp_path, form, capsys):
    old, packs = latched
    content: object = packs
    if form != "packs":
        content = [record for pack in packs for record in pack["records"] if record["type"] == "linli.snapshot.v1"]
    if form == "record":
        (content,) = content
    assert restored(tmp_path, content) == 0
    assert "values of linli/demo, 20" in capsys.readouterr().out
    new = Centre(tmp_path / "new")
    assert new.store.kept() == {key: msgspec.to_builtins(value) for key, value in old.pending.kept.items()}
    assert new.pipeline.standing() == {"cord": "latched"}
    assert new.strobe.driven[-1:] == [True], "the reaction of a standing alarm is driven at the start"


def test_an_alarm_that_came_as_often_here_keeps_its_own_state(latched, tmp_path, capsys):
    _, packs = latched
    (tmp_path / "new").mkdir()
    new = Centre(tmp_path / "new")
    new.pending.keep("alarm:cord", {"state": "unacknowledged", "occurrence": 5, "cause": {}})
    new.store.commit([new.pending.take(new.now_s, everything=True)])
    new.store.close()
    assert restored(tmp_path, packs) == 0
    assert "1 alarms left as they are" in capsys.readouterr().out
    kept = Centre(tmp_path / "new").store.kept()["alarm:cord"]
    assert (kept["state"], kept["occurrence"]) == ("unacknowledged", 5)


def test_a_long_snapshot_comes_in_packs_that_fit_and_is_whole_only_with_all_of_them(tmp_path, capsys):
    (tmp_path / "old").mkdir()
    centre = Centre(tmp_path / "old")
    for i in range(3000):
        centre.pending.keep(f"level:floor-{i}/door", random.Random(i).choice([True, False]))
        centre.pending.keep(f"raw:floor-{i}/door", [1, 2.0, 3.0])
    for _ in range(45):
        centre.pending.record("health", Record("probe", "box", centre.now_s, {"value": "x" * 900}), centre.now_s)
    told(centre)
    packs = [p for p in published(centre.store, tmp_path / "old") if p["records"][0]["type"] == "linli.snapshot.v1"]
    assert len(packs) > 1
    assert restored(tmp_path, packs[1:]) == 1
    assert "found no part 1" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert restored(tmp_path, packs) == 0
    kept = Centre(tmp_path / "new").store.kept()
    assert sum(key.startswith("level:") for key in kept) == 3000
    assert not any(key.startswith("raw:") for key in kept)


DATA = {"value": "hour", "part": 1, "parts": 1}
RECORD = {"type": "linli.snapshot.v1", "source": "linli/demo", "monoms": 1, "data": DATA}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "found 0 snapshots, expected one"),
        ({"type": "linli.health.v1"}, "found 0 snapshots, expected one"),
        (RECORD, "missing required field `keep`"),
        ([RECORD | {"monoms": n, "data": DATA | {"keep": {}}} for n in (1, 2)], "found 2 snapshots"),
        (RECORD | {"data": DATA | {"keep": {"cord": 1}}}, "found the key 'cord', expected <sort>:<name>"),
        (RECORD | {"data": DATA | {"keep": {"alarm:cord": "on"}}}, "alarm:cord: found Expected `object`"),
    ],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused_and_nothing_is_made(tmp_path, capsys, content, said):
    assert restored(tmp_path, content) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_running_box_is_left_alone(latched, tmp_path, capsys):
    _, packs = latched
    home = Home(tmp_path / "new")
    assert restored(tmp_path, packs) == 1
    assert "already running" in capsys.readouterr().err
    home.release()


def test_a_file_that_is_not_there_is_said(tmp_path, capsys):
    assert cli.main(["db", "--state", str(tmp_path), "restore-snapshot", str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert cli.main(["db", "--state", str(tmp_path), "restore-snapshot"]) == 2


def test_what_is_forgotten_is_not_told(tmp_path):
    pending = Pending(lambda: Label(1, 1.0, None, "unsure", None, "cafe0001"), 1.0, 1.0)
    pending.keep("output:valve", True)
    pending.keep("output:valve", None)
    pending.keep("pulses:main", 17)
    assert [part["keep"] for part in snapshot.parts(pending.kept)] == [{"pulses:main": 17}]


def test_whose_box_it_was_is_not_told_and_not_taken_back(tmp_path):
    [part] = snapshot.parts({"site": "demo-centre", "pulses:main": 17})
    assert part["keep"] == {"pulses:main": 17}
    told = {"type": "linli.snapshot.v1", "source": "linli/demo", "monoms": 1, "data": part | {"keep": {"site": "x"}}}
    (tmp_path / "snapshot.json").write_text(json.dumps([told]))
    assert snapshot.read(tmp_path / "snapshot.json")[0] == {}

"""The city's ledger: what it acknowledges, what it asks for again, what it never believes.

RULES is the conformance table of the acking rules: a city with a ledger of its own plays the same messages through it
and must come to the same words.
"""

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from simulator.ledger import REPEAT_S, SPACING_S, Ledger
from simulator.ledger_file import LedgerError

EPOCH, OLDER = "9f3c2a71", "00000abc"
READING = {"n": "basement/main/flow", "u": "m3/s", "t": 0, "v": 0.25}


def pack(n, *records, stream="readings", epoch=EPOCH, **changes):
    body = {
        "v": 1,
        "stream": stream,
        "epoch": epoch,
        "n": n,
        "boot": 7,
        "mono": 12.5,
        "clock": "ntp",
        "cfg": "ab12cd34",
    }
    body |= {"records": list(records) or [READING]} | changes
    return f"up/{stream}", json.dumps(body).encode()


def gap(n, first, last, **changes):
    return pack(n, {"gap": {"first": first, "last": last, "reason": "disk-budget", "records": 9}}, **changes)


def other_gap(n, epoch, first, last):
    return pack(n, {"gap": {"first": first, "last": last, "reason": "pruned", "epoch": epoch}})


def status(session=1, state="online", epoch=EPOCH, **heads):
    return "status", json.dumps({"v": 1, "state": state, "session": session, "epoch": epoch, "heads": heads}).encode()


def health(n, **heads):
    event = {"specversion": "1.0", "type": "linli.health.v1", "data": {"value": None, "heads": heads}}
    return pack(n, event, stream="health")


def began(n, why, prev, epoch=EPOCH, **heads):
    return pack(n, {"began": {"why": why, "prev": prev, "heads": heads}}, epoch=epoch)


def word(upto, also=(), missing=(), reject=()):
    return {"upto": upto, "also": list(also), "missing": list(missing), "reject": list(reject)}


RULES = [
    ("packs in order are held up to the last", [pack(1), pack(2), pack(3)], word(3)),
    (
        "a hole stops upto, is missing, and what lies beyond is also",
        [pack(1), pack(4), pack(5)],
        word(1, [[4, 5]], [[2, 3]]),
    ),
    ("the first pack missing leaves upto at nothing", [pack(2)], word(0, [[2, 2]], [[1, 1]])),
    ("any order comes to the same", [pack(5), pack(1), pack(4)], word(1, [[4, 5]], [[2, 3]])),
    ("a filled hole joins the ranges", [pack(1), pack(3), pack(2)], word(3)),
    ("a copy changes nothing", [pack(1), pack(1), pack(2), pack(1)], word(2)),
    ("a gap names what will not come", [pack(1), gap(5, 2, 4)], word(5)),
    ("a gap that leaves a hole leaves it missing", [pack(1), gap(6, 3, 5)], word(1, [[6, 6]], [[2, 2]])),
    ("a gap may come before the packs around it", [gap(5, 2, 4), pack(1)], word(5)),
    ("what a gap named may still come", [pack(1), gap(4, 2, 3), pack(3)], word(4)),
    ("gaps may overlap", [pack(1), gap(5, 2, 4), gap(8, 3, 6), pack(7)], word(8)),
    (
        "named numbers are not called held",
        [pack(1), pack(3), pack(5), gap(6, 4, 4)],
        word(1, [[3, 3], [5, 6]], [[2, 2]]),
    ),
    ("a gap of a polled bus names no numbers", [pack(1), pack(2, {"gap": {"reason": "polled-loss"}})], word(2)),
    ("a status tells a lost tail", [pack(1), status(readings=4)], word(1, (), [[2, 4]])),
    ("a head below what is held says nothing", [pack(1), pack(2), status(readings=1)], word(2)),
    ("a head is never taken back", [pack(1), status(1, readings=4), status(2, readings=2)], word(1, (), [[2, 4]])),
    ("health tells a lost tail", [pack(1), health(1, readings=3)], word(1, (), [[2, 3]])),
    (
        "a restored ledger asks for the tail it forgot",
        [pack(1), pack(2), status(readings=900)],
        word(2, (), [[3, 900]]),
    ),
    (
        "a status of a session that is over is not believed",
        [pack(1), status(5, readings=2), status(4, readings=9)],
        word(1, (), [[2, 2]]),
    ),
    (
        "packs of an older epoch do not fill holes of this one",
        [pack(1), pack(3), status(), pack(2, epoch=OLDER)],
        word(1, [[3, 3]], [[2, 2]]),
    ),
    (
        "a gap may name numbers of an older epoch only",
        [pack(1), pack(4), other_gap(5, OLDER, 2, 3)],
        word(1, [[4, 5]], [[2, 3]]),
    ),
    (
        "what cannot be used is rejected and not asked for",
        [pack(1), pack(2, v=2), pack(4)],
        word(1, [[4, 4]], [[3, 3]], [{"n": 2, "why": "version: 2, expected 1"}]),
    ),
    ("a gap settles what was rejected", [pack(1), pack(2, v=2), gap(3, 2, 2)], word(3)),
    ("a good copy settles what was rejected", [pack(1), pack(2, v=2), pack(2)], word(2)),
    ("a bad copy of what is held changes nothing", [pack(1), pack(1, v=2)], word(1)),
    (
        "a gap for numbers to come is not believed",
        [pack(1), gap(2, 2, 90)],
        word(1, reject=[{"n": 2, "why": "schema: gap up to 90 in pack 2"}]),
    ),
    (
        "a backward gap is not believed",
        [pack(1), gap(9, 5, 2)],
        word(1, reject=[{"n": 9, "why": "schema: gap from 5 to 2"}]),
    ),
    (
        "a pack on another stream's topic is rejected",
        [pack(1), ("up/readings", pack(2, stream="events")[1])],
        word(1, reject=[{"n": 2, "why": "stream: 'events' on the topic of 'readings'"}]),
    ),
    ("unknown fields, record types and members are kept", [pack(1, {"type": "x.y.v9", "new": {}}, later=[1])], word(1)),
    ("gzip is told by its first bytes", [(pack(1)[0], gzip.compress(pack(1)[1]))], word(1)),
]


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "city.db")
    yield opened
    opened.close()


def play(ledger, messages, gateway="box-1"):
    for topic, payload in messages:
        ledger.take(f"linli/v1/{gateway}/{topic}", payload, 1_800_000_000.0)
    ledger.commit()


def words(ledger, now_s=100.0):
    """{(gateway, epoch): streams} of one round of acks."""
    acks = [(gateway, json.loads(payload)) for gateway, payload in ledger.acks(now_s)]
    assert all(ack["v"] == 1 for _, ack in acks)
    return {(gateway, ack["epoch"]): ack["streams"] for gateway, ack in acks}


@pytest.mark.parametrize(("messages", "expected"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_the_word_follows_from_what_came(ledger, messages, expected):
    play(ledger, messages)
    assert words(ledger)["box-1", EPOCH]["readings"] == expected


@pytest.mark.parametrize(("messages", "expected"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_a_restart_after_each_message_changes_no_word(tmp_path, messages, expected):
    for message in messages:
        ledger = Ledger(tmp_path / "city.db")
        play(ledger, [message])
        ledger.close()
    ledger = Ledger(tmp_path / "city.db")
    assert json.loads(json.dumps(ledger.streams["box-1", EPOCH, "readings"].word())) == expected
    ledger.close()


def test_nothing_is_acknowledged_before_its_commit(ledger):
    ledger.take("linli/v1/box-1/up/readings", pack(1)[1], 0.0)
    assert ledger.waiting
    assert ledger.acks(100.0) == []
    ledger.commit()
    assert words(ledger)["box-1", EPOCH]["readings"]["upto"] == 1


def test_what_was_acknowledged_is_in_the_file(tmp_path, ledger):
    play(ledger, [pack(1)])
    with closing(sqlite3.connect(tmp_path / "city.db")) as other:
        row = other.execute("SELECT gateway, epoch, stream, n, boot, mono, clock, records, body FROM packs").fetchone()
    assert row == ("box-1", EPOCH, "readings", 1, 7, 12.5, "ntp", 1, pack(1)[1])


def test_an_ack_tells_only_the_streams_that_changed(ledger):
    play(ledger, [pack(1), pack(1, stream="events")])
    assert set(words(ledger, 100.0)["box-1", EPOCH]) == {"readings", "events"}
    play(ledger, [pack(2, stream="events")])
    assert words(ledger, 101.0) == {("box-1", EPOCH): {"events": word(2)}}
    assert words(ledger, 102.0) == {}


def test_acks_to_one_gateway_keep_their_distance(ledger):
    play(ledger, [pack(1)])
    assert words(ledger, 100.0)
    play(ledger, [pack(2)])
    assert words(ledger, 100.0 + SPACING_S / 2) == {}
    assert words(ledger, 100.0 + 2 * SPACING_S)["box-1", EPOCH]["readings"] == word(2)


def test_everything_is_repeated_while_the_gateway_is_online(ledger):
    play(ledger, [status(readings=1), pack(1), pack(1, stream="alarms")])
    words(ledger, 100.0)
    assert words(ledger, 100.0 + REPEAT_S - 0.1) == {}
    assert set(words(ledger, 100.0 + REPEAT_S)["box-1", EPOCH]) == {"readings", "alarms"}
    play(ledger, [status(state="offline")])
    assert words(ledger, 100.0 + 3 * REPEAT_S) == {}


def test_one_who_comes_back_is_told_everything_at_once(ledger):
    play(ledger, [status(1), pack(1)])
    words(ledger, 100.0)
    play(ledger, [status(1, "offline")])
    assert words(ledger, 101.0) == {}
    play(ledger, [status(2)])
    assert words(ledger, 102.0)["box-1", EPOCH]["readings"] == word(1)


def test_two_gateways_do_not_hear_of_each_other(ledger):
    play(ledger, [pack(1)], "box-1")
    play(ledger, [pack(2)], "box-2")
    assert words(ledger) == {
        ("box-1", EPOCH): {"readings": word(1)},
        ("box-2", EPOCH): {"readings": word(0, [[2, 2]], [[1, 1]])},
    }


def test_a_new_epoch_tells_how_far_the_old_one_had_got(ledger):
    play(ledger, [status(epoch=OLDER), pack(1, epoch=OLDER), began(1, "corrupt", OLDER, readings=3)])
    heard = words(ledger)
    assert heard["box-1", EPOCH]["readings"] == word(1)
    assert heard["box-1", OLDER]["readings"] == word(1, (), [[2, 3]])
    assert list(ledger.rows("SELECT epoch FROM gateways")) == [(EPOCH,)]


def test_a_late_pack_of_an_old_epoch_is_kept_and_answered_under_its_own_name(ledger):
    play(ledger, [status(), pack(1)])
    words(ledger)
    play(ledger, [pack(7, epoch=OLDER)])
    assert words(ledger, 101.0) == {("box-1", OLDER): {"readings": word(0, [[7, 7]], [[1, 6]])}}
    assert list(ledger.rows("SELECT epoch FROM gateways")) == [(EPOCH,)]


def test_the_will_of_a_replaced_connection_turns_nobody_offline(ledger):
    play(ledger, [status(3), status(2, "offline")])
    assert list(ledger.rows("SELECT session, state FROM gateways")) == [(3, "online")]
    assert ledger.counts["old statuses"] == 1


def test_a_copy_with_other_records_is_a_conflict_and_the_first_one_stays(ledger):
    other = pack(1, READING | {"v": 9.0})
    play(ledger, [pack(1), other])
    assert [tuple(row) for row in ledger.rows("SELECT n, body FROM conflicts")] == [(1, other[1])]
    assert ledger.rows("SELECT body FROM packs").fetchone()[0] == pack(1)[1]


def test_a_copy_written_another_way_is_no_conflict(ledger):
    body = json.loads(pack(1)[1])
    again = json.dumps(body | {"mono": 99.0, "records": [dict(reversed(READING.items()))]}, indent=1).encode()
    play(ledger, [pack(1), ("up/readings", again)])
    assert (ledger.counts["copies"], ledger.counts["conflicts"]) == (1, 0)


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"\xff\xfe",
    b"null",
    b'{"v":1}',
    b"[" * 100_000,
    b"\x1f\x8b",
    b"\x1f\x8bgarbage!!!!",
    gzip.compress(b"x" * (5 << 20)),
    gzip.compress(pack(1)[1])[:-6],
    pack(0)[1],
    pack(-1)[1],
    pack(1.5)[1],
    pack(1 << 60)[1],
    pack(1, epoch="UPPER123")[1],
    b'{"v":1e999}',
]


@pytest.mark.parametrize("payload", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("topic", ["up/readings", "status"])
def test_garbage_is_counted_and_nobody_falls(ledger, topic, payload):
    play(ledger, [(topic, payload), pack(1)])
    assert ledger.counts["unreadable"] == (topic != "status" or payload != b"")
    assert words(ledger)["box-1", EPOCH]["readings"]["upto"] == 1


def test_cut_json_is_rejected_by_the_name_at_its_head(ledger):
    play(ledger, [pack(1), ("up/readings", pack(2)[1][:-40])])
    told = words(ledger)["box-1", EPOCH]["readings"]
    assert told["upto"] == 1
    assert [entry["n"] for entry in told["reject"]] == [2]
    assert told["reject"][0]["why"].startswith("json")


@pytest.mark.parametrize(
    "topic",
    [
        "other/v1/box-1/up/events",
        "linli/v1/BOX/up/events",
        "linli/v1/box-1/down/ack",
        "linli/v1/box-1/up/",
        "linli/v1/box-1/up/a/b",
        "linli/v1//up/events",
        "linli/v1",
    ],
)
def test_a_topic_outside_the_contract_is_counted(ledger, topic):
    ledger.take(topic, pack(1, stream="events")[1], 0.0)
    assert ledger.counts["strange topics"] == 1
    assert not ledger.streams


def test_the_root_may_have_slashes(tmp_path):
    ledger = Ledger(tmp_path / "city.db", root="sh/pudong/linli")
    ledger.take("sh/pudong/linli/v1/box-1/up/readings", pack(1)[1], 0.0)
    ledger.commit()
    assert ("box-1", EPOCH) in words(ledger)
    ledger.close()


def test_the_lists_of_an_ack_are_bounded_and_begin_at_the_low_end(ledger):
    play(ledger, [pack(n) for n in range(1, 400, 2)] + [pack(n, v=2) for n in range(1000, 1200)])
    told = words(ledger)["box-1", EPOCH]["readings"]
    assert (len(told["also"]), len(told["missing"]), len(told["reject"])) == (64, 64, 64)
    assert (told["also"][0], told["missing"][0], told["reject"][0]["n"]) == ([3, 3], [2, 2], 1000)


def test_meta_and_state_are_kept_as_they_came(ledger):
    play(ledger, [("meta", b'{"v":1}'), ("state", gzip.compress(b'{"v":1,"x":2}'))])
    assert list(ledger.rows("SELECT meta, latest FROM gateways")) == [(b'{"v":1}', b'{"v":1,"x":2}')]


def test_a_second_city_may_not_write_the_same_file_but_may_look(tmp_path, ledger):
    play(ledger, [pack(1)])
    with pytest.raises(LedgerError, match="another city"):
        Ledger(tmp_path / "city.db")
    watcher = Ledger(tmp_path / "city.db", watching=True)
    assert watcher.streams["box-1", EPOCH, "readings"].known.upto == 1
    watcher.close()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be read as one" * 40, None])
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path, content):
    path = tmp_path / "other.db"
    if content:
        path.write_bytes(content)
    else:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE theirs (x)")
        other.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_full_disk_undoes_what_was_not_acknowledged_and_nothing_else(tmp_path, ledger):
    play(ledger, [pack(1)])
    pages = ledger.rows("PRAGMA page_count").fetchone()[0]
    ledger.rows(f"PRAGMA max_page_count = {pages + 5}")
    ledger.take("linli/v1/box-1/up/readings", pack(2)[1], 0.0)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.take("linli/v1/box-1/up/readings", pack(3, READING | {"note": "x" * 100_000})[1], 0.0)
    assert not ledger.waiting
    ledger.close()
    again = Ledger(tmp_path / "city.db")
    assert again.streams["box-1", EPOCH, "readings"].known.upto == 1
    again.close()

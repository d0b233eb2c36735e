"""A pack is a compressed column in the store and plain SenML for the city; nothing changes on the way."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.reading import Reading
from gateway.contract import PACK_BYTES_MAX, PACK_RECORDS_MAX, Label, Record, compressed, pack_payload
from gateway.packs import Column, encode_columns, encode_records, open_records, reading_records
from gateway.pending import Pending

KNOWN = Label(3, 500.0, 1_800_000_000.0, "ntp", 0.01, "cafe0001")
UNSURE = Label(3, 500.0, None, "unsure", None, "cafe0001")

VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.sampled_from(["normal", "cut", 'a"b', "水"])
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b/c", "地/x"]), st.floats(0, 500), VALUES, st.integers(1, 2**32 - 1), st.booleans()
    ),
    min_size=1,
    max_size=60,
)


@given(ROWS)
def test_what_goes_into_a_pack_comes_out_of_it_exactly(rows):
    columns: dict[str, Column] = {}
    for sensor, mono, value, seq, good in rows:
        column = columns.setdefault(sensor, Column(sensor, "m3/s", "n1", 7))
        column.monos.append(mono)
        column.values.append(value)
        column.seqs.append(seq)
        if not good:
            column.odd.append((len(column.values) - 1, "range"))
    records = json.loads(b"[" + reading_records(encode_columns(list(columns.values()), 500.0), KNOWN) + b"]")
    expected = [
        (c.sensor, m, v, s) for c in columns.values() for m, v, s in zip(c.monos, c.values, c.seqs, strict=True)
    ]
    assert records[0]["bt"] == 1_800_000_000.0
    for record, (sensor, mono, value, seq) in zip(records, expected, strict=True):
        [found] = [record[key] for key in ("v", "vb", "vs") if key in record]
        assert (record["n"], found, type(found)) == (sensor, value, type(value))
        assert record["src"] == f"n1/7/{seq}"
        assert record["t"] == pytest.approx(mono - 500.0, abs=0.0011)
    assert sum("q" in record for record in records) == sum(not row[4] for row in rows)


def test_while_the_clock_is_unsure_times_are_relative_and_there_is_no_base():
    column = Column("a", "", "", 0)
    column.monos, column.values = [499.0], [True]
    [record] = json.loads(b"[" + reading_records(encode_columns([column], 500.0), UNSURE) + b"]")
    assert record == {"n": "a", "t": -1.0, "vb": True}


def test_a_value_that_is_no_number_does_not_spoil_the_pack_of_the_others():
    column = Column("a", "", "n1", 1)
    column.monos, column.values, column.seqs = [1.0, 2.0, 3.0], [1.5, float("nan"), float("-inf")], [1, 2, 3]
    records = json.loads(b"[" + reading_records(encode_columns([column], 500.0), KNOWN) + b"]")
    assert [record.get("v", record.get("vs")) for record in records] == [1.5, "nan", "-inf"]


def test_nor_does_one_among_words_and_switches():
    column = Column("loop", "", "n1", 1)
    column.monos, column.values, column.seqs = [1.0, 2.0, 3.0], ["cut", float("nan"), 7.0], [1, 2, 3]
    records = json.loads(
        b"[" + reading_records(encode_columns([column], 500.0), KNOWN) + b"]", parse_constant=pytest.fail
    )
    assert [record.get("v", record.get("vs")) for record in records] == ["cut", "nan", 7.0]


def test_two_hundred_sensors_at_one_hertz_cost_few_bytes_a_reading():
    columns = []
    for i in range(200):
        column = Column(f"building/floor/{i}", "m3/s", "", 0)
        column.monos = [500.0 + k for k in range(30)]
        column.values = [round(0.0001 * (i + k % 3), 6) for k in range(30)]
        columns.append(column)
    assert len(encode_columns(columns, 530.0)) / 6000 <= 4


@pytest.mark.parametrize("body", [b"", b"[]x", b"\x78\x01junk", zlib.compress(b"junk"), zlib.compress(b"\x01")])
def test_a_body_that_is_not_ours_is_refused_by_name(body):
    with pytest.raises(ValueError, match="of the store"):
        reading_records(body, KNOWN)


def test_records_survive_compression_and_a_broken_one_is_refused():
    records = [{"type": "x", "subject": "y", "mono": 1.5, "data": {"value": "水" * 300}}]
    assert open_records(encode_records(records)) == records
    with pytest.raises(ValueError, match="cannot be opened"):
        open_records(encode_records(records)[:-9])


def test_no_pack_is_larger_than_the_city_takes():
    pending = Pending(lambda: KNOWN, 10, 30)
    for seq in range(1, 5000):
        value = "x" * 200 if seq % 3 else -1.2345678901234567e-300
        pending.reading("s" * 64, "m3/s", "n" * 32, Reading("n:p", value, 499.9, 2**32 - 1, seq), 499.9)
    work = pending.take(500.0, everything=True)
    assert work and sum(draft.records for draft in work.drafts) == 4999
    for draft in work.drafts:
        assert draft.records <= PACK_RECORDS_MAX
        payload = pack_payload("readings", "9f3c2a71", 10**9, draft.label, reading_records(draft.body(), draft.label))
        assert len(payload) <= PACK_BYTES_MAX
        assert compressed(payload)[:2] == b"\x1f\x8b"


def test_a_local_reading_waits_for_its_own_interval_and_a_numbered_one_for_its_own():
    pending = Pending(lambda: KNOWN, 10, 30)
    pending.reading("local", "", "", Reading("gpio:1", 1.0, 0.0), 0.0)
    pending.reading("node", "", "n1", Reading("n1:a", 1.0, 0.0, 1, 1), 0.0)
    assert pending.due_in_s(0.0) == 10
    work = pending.take(10.0)
    assert work and [draft.records for draft in work.drafts] == [1]
    assert pending.due_in_s(10.0) == 20 and pending.records == 1


def sampled(pending: Pending, count: int, now_s: float) -> None:
    for i in range(count):
        pending.reading(f"local{i}", "", "", Reading(f"gpio:{i}", 1.0, now_s), now_s)
        pending.samples.add(f"local{i}", "", Reading(f"gpio:{i}", 1.0, now_s), now_s)


@pytest.mark.parametrize(
    ("at_s", "streams", "noted", "groups"),
    [(14.0, ["events"], 1, 0), (16.0, ["readings", "events"], 1, 1)],
)
def test_what_has_waited_for_half_of_its_interval_goes_along_with_an_event(at_s, streams, noted, groups):
    pending = Pending(lambda: KNOWN, 10, 30)
    sampled(pending, 1, 0.0)
    pending.reading("node", "", "n1", Reading("n1:a", 1.0, at_s, 1, 1), at_s)
    pending.record("events", Record("ticket.issued", "k1", at_s, {"value": "A001"}), at_s)
    work = pending.take(at_s + 0.02)
    assert work and [draft.stream for draft in work.drafts] == streams
    assert len(work.journal) == noted and len(work.samples) == groups
    pending.record("events", Record("ticket.issued", "k1", at_s + 6, {"value": "A002"}), at_s + 6)
    work = pending.take(at_s + 6.02)
    assert work and "readings" in work.closed and not work.journal, "the node's pack is closed and not noted again"


def test_an_event_does_not_wait_for_the_packing_of_a_great_many_samples():
    pending = Pending(lambda: KNOWN, 10, 30)
    sampled(pending, 101, 0.0)
    pending.record("events", Record("ticket.issued", "k1", 29.0, {"value": "A001"}), 29.0)
    work = pending.take(29.5)
    assert work and [draft.stream for draft in work.drafts] == ["events"] and not work.samples
    work = pending.take(30.0)
    assert work and [draft.records for draft in work.drafts] == [101] and work.samples[0].samples == 101


def test_what_an_interval_ends_goes_into_one_commit_and_one_pack():
    pending = Pending(lambda: KNOWN, 10, 30)
    sampled(pending, 1, 0.0)
    pending.reading("node", "", "n1", Reading("n1:a", 1.0, 29.0, 1, 1), 29.0)
    work = pending.take(30.0)
    assert work and [draft.records for draft in work.drafts] == [2] and len(work.samples) == 1
    assert work.journal == [] and "readings" in work.closed
    assert pending.due_in_s(30.0) is None and pending.records == 0


def test_intervals_that_begin_apart_fall_in_step():
    pending = Pending(lambda: KNOWN, 30, 30)
    commits = 0
    for s in range(600):
        if s % 5 == 0:
            pending.reading("node", "", "n1", Reading("n1:a", 1.0, s, 1, s + 1), s)
        if s >= 11:
            sampled(pending, 1, s)
        if s % 60 == 50:
            pending.record("health", Record("health", "box", s, {"value": 1}), s)
        commits += pending.take(s) is not None
    assert 19 <= commits <= 21


def test_while_the_city_is_away_a_lone_event_is_written_once_and_many_make_a_pack_a_second():
    pending = Pending(lambda: KNOWN, 10, 30)
    packs, noted = [], 0
    for ms in range(10_000):
        now_s = 100 + ms / 1000
        if ms == 0 or (5000 <= ms < 7000 and ms % 100 == 0):
            pending.record("events", Record("ticket.issued", "k1", now_s, {"value": "A001"}), now_s)
        if work := pending.take(now_s, dense=True):
            packs += [draft.records for draft in work.drafts]
            noted += sum(draft.records for draft in work.journal)
    assert packs == [1, 1, 10, 9]
    assert noted == 18, "that which a second ends with goes into its pack at once"

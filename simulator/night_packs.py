"""A pack of a night as it is published, opened with hands of our own: what is in it, and what it says of others."""

from typing import NamedTuple
from zlib import crc32

import msgspec

from drivers.reading import Value
from simulator.night_devices import Src

Name = tuple[str, str, int]  # epoch, stream, n
LOST = "linli.source.lost.v1"


class Found(NamedTuple):
    """A numbered fact as a pack tells it. wall_s: UTC by the pack's own label, None while the clock was unsure."""

    src: Src
    sensor: str
    value: Value
    boot: int
    mono_s: float
    wall_s: float | None


class Pack(NamedTuple):
    """facts in their order. lost: what a source gave up. gaps: (epoch, first, last). synced: (boot, mono, wall).

    known: whether its label knew the time.
    """

    facts: list[Found]
    lost: list[Src]
    gaps: list[tuple[str, int, int]]
    synced: list[tuple[int, float, float]]
    boot: int
    known: bool
    crc: int


class _Record(msgspec.Struct, gc=False):
    n: str = ""
    v: float | None = None
    vb: bool | None = None
    vs: str | None = None
    t: float = 0.0
    bt: float | None = None
    src: str | None = None
    type: str = ""
    monoms: int | None = None
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    gap: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct):
    epoch: str
    stream: str
    n: int
    boot: int
    mono: float
    clock: str
    records: msgspec.Raw


class _Value(msgspec.Struct):
    value: Value | None = None


class _Lost(msgspec.Struct):
    first: int
    last: int


class _Gap(msgspec.Struct):
    first: int | None = None
    last: int | None = None
    epoch: str | None = None


class _Synced(msgspec.Struct):
    boot: int
    mono: float
    wall: float


_body = msgspec.json.Decoder(_Body).decode
_records = msgspec.json.Decoder(list[_Record]).decode
_value = msgspec.json.Decoder(_Value).decode
_lost = msgspec.json.Decoder(_Lost).decode
_gap = msgspec.json.Decoder(_Gap).decode
_synced = msgspec.json.Decoder(_Synced).decode


def opened(payload: bytes) -> tuple[Name, Pack]:
    body = _body(payload)
    return (body.epoch, body.stream, body.n), _opened(body, _records(body.records))


def sources_in(records: bytes) -> list[Src]:
    """The numbered facts of a JSON array of records, and what they say was lost."""
    return [src for record in _records(records) if record.src for src in _sources(record, record.src)]


def _opened(body: _Body, records: list[_Record]) -> Pack:
    pack = Pack([], [], [], [], body.boot, body.clock != "unsure", crc32(body.records))
    base_s = records[0].bt if records else None
    for record in records:
        if record.gap:
            gap = _gap(record.gap)
            if gap.first is not None and gap.last is not None:
                pack.gaps.append((gap.epoch or body.epoch, gap.first, gap.last))
        elif record.type == "linli.clock.synced.v1":
            synced = _synced(record.data)
            pack.synced.append((synced.boot, synced.mono, synced.wall))
        elif record.src:
            sources = _sources(record, record.src)
            if record.type == LOST:
                pack.lost.extend(sources)
            else:
                pack.facts.append(_fact(body, record, sources[0], base_s))
    return pack


def _sources(record: _Record, said: str) -> list[Src]:
    source, boot, seq = said.split("/")
    if record.type != LOST:
        return [(source, int(boot), int(seq))]
    lost = _lost(record.data)
    return [(source, int(boot), n) for n in range(lost.first, lost.last + 1)]


def _fact(body: _Body, record: _Record, src: Src, base_s: float | None) -> Found:
    if record.type:
        mono_s = (record.monoms or 0) / 1000
        return Found(src, "", _value(record.data).value or "", body.boot, mono_s, None)
    value: Value = record.vb if record.vb is not None else record.vs if record.vs is not None else record.v or 0.0
    wall_s = base_s + record.t if base_s is not None else None
    return Found(src, record.n, value, body.boot, body.mono + record.t, wall_s)

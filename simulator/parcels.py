"""What comes from a gateway, opened by the city with its own hands.

The city does not read with the gateway's code: two readers of one contract find each other's mistakes. Open on purpose:
an unknown field, type or stream is kept, only what has no name or is no list of records is refused.
"""

import re
import zlib
from typing import Annotated

import msgspec

PLAIN_BYTES_MAX = 4 << 20  # a pack is at most 60,000 B as published; gzip makes at most this of it
NUMBER_MAX = 1 << 53  # what every JSON reader keeps exactly

Number = Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)]
Epoch = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$")]
Heads = dict[str, Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]]


class Refused(Exception):
    """A payload that cannot be taken. name: (epoch, stream, n), when that much could be read."""

    def __init__(self, why: str, name: tuple[str, str, int] | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.name = name


class Gap(msgspec.Struct, rename={"from_s": "from", "to_s": "to"}):
    """first and last are left out for polled-loss only. epoch: when another epoch's numbers are meant."""

    reason: str
    first: Number | None = None
    last: Number | None = None
    records: Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)] | None = None
    from_s: float | None = None
    to_s: float | None = None
    epoch: Epoch | None = None


class Began(msgspec.Struct):
    why: str
    prev: Epoch | None = None
    heads: Heads = {}


class Record(msgspec.Struct):
    """Of a record only what the ledger itself must understand."""

    type: str = ""
    gap: Gap | None = None
    began: Began | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class Pack(msgspec.Struct):
    v: int
    stream: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    epoch: Epoch
    n: Number
    records: msgspec.Raw
    boot: Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)] | None = None
    mono: float | None = None
    clock: str | None = None
    cfg: str | None = None


class Status(msgspec.Struct):
    session: Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
    state: str
    epoch: Epoch | None = None
    heads: Heads = {}


class _Name(msgspec.Struct):
    epoch: Epoch
    n: Number


class _Health(msgspec.Struct):
    heads: Heads = {}


_pack = msgspec.json.Decoder(Pack)
_records = msgspec.json.Decoder(list[Record])
_status = msgspec.json.Decoder(Status)
_name = msgspec.json.Decoder(_Name)
_health = msgspec.json.Decoder(_Health)
_BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_EPOCH = re.compile(rb'"epoch"\s*:\s*"([0-9a-f]{8})"')
_NUMBER = re.compile(rb'"n"\s*:\s*([1-9][0-9]{0,14})\b')


def plain(payload: bytes) -> bytes:
    """The payload without its gzip. Raises Refused: broken, or too large when opened."""
    if payload[:2] != b"\x1f\x8b":
        if len(payload) > PLAIN_BYTES_MAX:
            raise Refused("too-large")
        return payload
    opener = zlib.decompressobj(wbits=31)
    try:
        body = opener.decompress(payload, PLAIN_BYTES_MAX)
    except zlib.error as error:
        raise Refused(f"gzip: {error}") from None
    if not opener.eof:
        raise Refused("too-large" if opener.unconsumed_tail else "gzip: cut short")
    return body


def open_pack(body: bytes, stream: str) -> tuple[Pack, list[Record]]:
    """stream: as the topic says. Raises Refused, with the pack's name where it can be read."""
    try:
        pack = _pack.decode(body)
        records = _records.decode(pack.records)
    except _BAD_JSON as error:
        why = "schema" if isinstance(error, msgspec.ValidationError) else "json"
        raise Refused(f"{why}: {error}"[:200], _read_name(body, stream)) from None
    name = (pack.epoch, stream, pack.n)
    if pack.v != 1:
        raise Refused(f"version: {pack.v}, expected 1", name)
    if pack.stream != stream:
        raise Refused(f"stream: {pack.stream!r} on the topic of {stream!r}"[:200], name)
    for record in records:
        _check_gap(record.gap, pack, name)
    return pack, records


def _check_gap(gap: Gap | None, pack: Pack, name: tuple[str, str, int]) -> None:
    """A gap says what is past: it cannot name its own number or one that is still to come."""
    if gap is None or (gap.first is None and gap.last is None):
        return
    if gap.first is None or gap.last is None or gap.last < gap.first:
        raise Refused(f"schema: gap from {gap.first} to {gap.last}", name)
    if gap.epoch in (None, pack.epoch) and gap.last >= pack.n:
        raise Refused(f"schema: gap up to {gap.last} in pack {pack.n}", name)


def _read_name(body: bytes, stream: str) -> tuple[str, str, int] | None:
    try:
        name = _name.decode(body)
        return name.epoch, stream, name.n
    except _BAD_JSON:
        pass
    head = body[:200]  # cut or garbled JSON: the envelope comes first; without a name the sender would retry for ever
    epoch, number = _EPOCH.search(head), _NUMBER.search(head)
    return (epoch[1].decode(), stream, int(number[1])) if epoch and number else None


def open_status(body: bytes) -> Status:
    """Raises Refused."""
    try:
        return _status.decode(body)
    except _BAD_JSON as error:
        raise Refused(f"status: {error}"[:200]) from None


def health_heads(record: Record) -> dict[str, int]:
    """The heads a health record tells; empty when it tells none in a form we know."""
    if record.type != "linli.health.v1":
        return {}
    try:
        return _health.decode(record.data).heads
    except _BAD_JSON:
        return {}


def same_records(one: bytes, other: bytes) -> bool:
    """Whether two packs hold equal records, however they are written."""
    first, second = _pack.decode(one).records, _pack.decode(other).records
    return bytes(first) == bytes(second) or msgspec.json.decode(first) == msgspec.json.decode(second)

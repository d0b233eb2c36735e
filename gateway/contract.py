"""The city's contract: every topic and payload. Nothing else in the gateway builds or reads one.

Complete on MQTT 3.1.1: no fact lives only in an MQTT 5 property. Times on the wire are UTC seconds
(SenML) or RFC 3339 (CloudEvents); both are left out while the clock is unsure.
"""

import gzip
import re
from datetime import UTC, datetime

import msgspec

VERSION = 1
STREAMS = ("alarms", "events", "readings", "health")  # in order of precedence
PACK_RECORDS_MAX = 500
PACK_BYTES_MAX = 60_000  # as published; ApsaraMQ and others stop at 64 KB
GZIP_FROM_BYTES = 1_024
STATE_BYTES_MAX = 60_000

GATEWAY_PATTERN = re.compile(r"[a-z0-9-]{3,40}")

Json = dict[str, object]


class ContractError(ValueError):
    """A payload from outside that does not keep the contract: what was found and what was expected."""


class Topics:
    """The names under which one gateway travels. `root` may have slashes and is the tenant."""

    def __init__(self, root: str, gateway: str) -> None:
        self._base = f"{root}/v{VERSION}/{gateway}"
        self.source = f"{root}/{gateway}"
        self.status = f"{self._base}/status"
        self.meta = f"{self._base}/meta"
        self.state = f"{self._base}/state"
        self.ack = f"{self._base}/down/ack"
        self.result = f"{self._base}/result"
        self._up = {stream: f"{self._base}/up/{stream}" for stream in STREAMS}

    def up(self, stream: str) -> str:
        return self._up[stream]

    def down(self, kind: str) -> str:
        """Where the commands of a class come."""
        return f"{self._base}/down/{kind}"


class Label(msgspec.Struct, frozen=True):
    """What is true for a whole pack.

    boot: this machine's boot number. mono: seconds on that boot's clock.
    wall: UTC seconds at `mono`, None while the clock is unsure. clock: "ntp", "rtc" or "unsure".
    err_s: how far wall may be off, None when nobody knows. cfg: hash of the dictionary in force.
    """

    boot: int
    mono: float
    wall: float | None
    clock: str
    err_s: float | None
    cfg: str


class Gap(msgspec.Struct, frozen=True, rename={"from_s": "from", "to_s": "to"}, omit_defaults=True):
    """Numbers first..last of a stream that will not come, and why.

    records: how many records they held, None when nobody can say. from_s, to_s: UTC seconds of the first and
    last record, left out while the clock is unsure. epoch: only when another epoch's numbers are meant.
    """

    reason: str
    first: int | None = None
    last: int | None = None
    records: int | None = None
    from_s: float | None = None
    to_s: float | None = None
    epoch: str | None = None

    def as_record(self) -> Json:
        return {"gap": msgspec.to_builtins(self)}


class Began(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an epoch began: "new", "corrupt", "reset" or "restored"; what it followed, and how far that had got."""

    why: str
    prev: str | None = None
    heads: dict[str, int] | None = None

    def as_record(self) -> Json:
        return {"began": msgspec.to_builtins(self)}


class Record(msgspec.Struct, frozen=True):
    """An event, alarm or health record before it has its number.

    type: "ticket.issued" becomes "linli.ticket.issued.v1". mono: when, on the boot's clock.
    """

    type: str
    subject: str
    mono: float
    data: Json
    src: str | None = None

    def as_record(self) -> Json:
        """As the store keeps it; `event_records` makes a CloudEvent of it."""
        record: Json = {"type": self.type, "subject": self.subject, "mono": self.mono, "data": self.data}
        return record | {"src": self.src} if self.src else record


class StreamAck(msgspec.Struct, frozen=True):
    """What the ledger says of one stream. Ranges are [first, last], both inclusive."""

    upto: int = 0
    also: list[tuple[int, int]] = []
    missing: list[tuple[int, int]] = []
    reject: list[Json] = []


class Ack(msgspec.Struct, frozen=True):
    """The ledger's word: prune upto and also, send missing again, set reject aside."""

    v: int
    epoch: str
    streams: dict[str, StreamAck]
    pace: Json = {}


_ack_decoder = msgspec.json.Decoder(Ack)
_encode = msgspec.json.Encoder().encode


def parse_ack(payload: bytes) -> Ack:
    """Raises ContractError. An unknown field is ignored, an unknown stream is not."""
    try:
        ack = _ack_decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ContractError(f"down/ack: {error}; expected {{v, epoch, streams}} as in docs/contract.md") from None
    if ack.v != VERSION:
        raise ContractError(f"down/ack: v is {ack.v}; this gateway speaks {VERSION}")
    for name, stream in ack.streams.items():
        if name not in STREAMS:
            raise ContractError(f"down/ack: stream {name!r}; expected one of {', '.join(STREAMS)}")
        for first, last in (*stream.also, *stream.missing):
            if not 1 <= first <= last:
                raise ContractError(f"down/ack: {name} has the range [{first}, {last}]; expected 1 <= first <= last")
    return ack


def pack_payload(stream: str, epoch: str, n: int, label: Label, records: bytes) -> bytes:
    """One pack as published. records: the JSON array's inside, as `event_records` or `reading_records` make it."""
    head = _encode(
        {
            "v": VERSION,
            "stream": stream,
            "epoch": epoch,
            "n": n,
            "boot": label.boot,
            "mono": round(label.mono, 3),
            "clock": label.clock,
            "err_s": label.err_s,
            "cfg": label.cfg,
        }
    )
    return head[:-1] + b',"records":[' + records + b"]}"


def compressed(payload: bytes) -> bytes:
    """gzip when that is worth it; consumers tell by the first bytes 1F 8B."""
    return gzip.compress(payload, 1, mtime=0) if len(payload) >= GZIP_FROM_BYTES else payload


def event_records(records: list[Json], source: str, stream: str, epoch: str, n: int, label: Label) -> bytes:
    """Stored records as CloudEvents 1.0; `gap` and `began` travel as they are."""
    return b",".join(
        _encode(record if "type" not in record else _cloud_event(record, source, f"{epoch}-{stream}-{n}-{i}", label))
        for i, record in enumerate(records)
    )


def _cloud_event(record: Json, source: str, event_id: str, label: Label) -> Json:
    mono = record["mono"]
    assert isinstance(mono, float | int)
    event: Json = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"linli.{record['type']}.v1",
        "subject": record["subject"],
        "monoms": round(mono * 1000),
    }
    if label.wall is not None:
        event["time"] = rfc3339(label.wall + mono - label.mono)
    event["data"] = record["data"]
    if record.get("src"):
        event["src"] = record["src"]
    if record.get("test"):
        event["test"] = True
    return event


def rfc3339(wall_s: float) -> str:
    """UTC with milliseconds."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status(
    *, online: bool, session: int, epoch: str, boot: int, cfg: str, versions: Json, heads: dict[str, int] | None
) -> bytes:
    """heads: the last number of each stream; left out in the will, which cannot know them."""
    body: Json = {"v": VERSION, "state": "online" if online else "offline", "session": session, "epoch": epoch}
    body |= {"boot": boot, "cfg": cfg, "versions": versions}
    if heads is not None:
        body["heads"] = heads
    return _encode(body)


def dictionary(body: Json) -> bytes:
    """`meta` and `state`: already plain JSON; one door, so that a test can hold them to their schema."""
    return _encode({"v": VERSION} | body)

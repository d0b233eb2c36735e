"""The shape of every payload, for machines: what contract_schema.py makes JSON Schemas and the AsyncAPI document from.
(What stands in the `data` of events, alarms and health records: contract_catalogue.py.)

Only `linli contract` and the tests import it: the gateway itself builds payloads in contract.py, and the tests hold
what it builds to these shapes. A field with UNSET may be left out; None is written where null may stand.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.contract import GATEWAY_PATTERN, PACK_RECORDS_MAX
from gateway.contract_hall import QueueState

N_LAST = 2**53 - 1  # every JSON reader keeps it exactly

Epoch = Annotated[str, Meta(pattern="^[0-9a-f]{8}$", description="8 hex digits, random, made with the database")]
Cfg = Annotated[str, Meta(pattern="^[0-9a-f]{8}$", description="hash of the dictionary in force: `cfg` of meta")]
N = Annotated[int, Meta(ge=1, le=N_LAST)]
Count = Annotated[int, Meta(ge=0, le=N_LAST)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Some = Annotated[float, Meta(ge=0)]
Boot = Annotated[int, Meta(ge=1, le=N_LAST, description="this machine's boot number")]
Mono = Annotated[float, Meta(ge=0, description="seconds on that boot's clock")]
Range = Annotated[list[N], Meta(min_length=2, max_length=2, description="[first, last], both inclusive")]
Clock = Annotated[Literal["ntp", "rtc", "unsure"], Meta(description="whether to believe the wall clock")]
ErrS = Annotated[float | None, Meta(description="how far off the wall may be, s; null: nobody knows")]
Utc = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")]
Src = Annotated[
    str, Meta(pattern=r"^[^/]+/[0-9]{1,10}/[0-9]{1,10}(\.[0-9]+)?$", description="<source>/<its boot>/<its number>")
]
Severity = Literal["urgent", "high", "low"]
AlarmState = Literal["normal", "unacknowledged", "acknowledged", "returned-unacknowledged", "latched", "shelved"]
Standing = Literal["unacknowledged", "acknowledged", "returned-unacknowledged", "latched", "shelved"]
Value = bool | float | str


def known(*words: str) -> dict[str, Any]:
    """Words (regular expressions) a field has today. More may come, so only the strict schema insists on them."""
    return {"x-known": list(words)}


# A time below 2**28 would be a relative one (RFC 8428, section 4.5.3).
Bt = Annotated[float, Meta(ge=2**28, description="UTC seconds of the pack's `mono`; in the first record alone")]
Unit = Annotated[str, Meta(description="SenML unit", extra_json_schema=known("m3", "m3/s", "Pa", "Cel", "A"))]
Quality = Annotated[str, Meta(description="when not good", extra_json_schema=known("range", "fault"))]


class Heads(Struct, kw_only=True):
    """The last number of each stream of the epoch in force."""

    alarms: Count | UnsetType = UNSET
    events: Count | UnsetType = UNSET
    readings: Count | UnsetType = UNSET
    health: Count | UnsetType = UNSET


# -- records -----------------------------------------------------------------------------------------------------------


class Gap(Struct, kw_only=True, rename={"from_s": "from", "to_s": "to"}):
    """Numbers first..last of this stream will not come. first and last are left out for polled-loss alone."""

    reason: Annotated[
        str, Meta(extra_json_schema=known("disk-budget", "corrupt", "pruned", "polled-loss", r"rejected: [\s\S]*"))
    ]
    first: N | UnsetType = UNSET
    last: N | UnsetType = UNSET
    records: Annotated[Count | UnsetType, Meta(description="how many records; left out when nobody can say")] = UNSET
    from_s: Annotated[float | UnsetType, Meta(description="UTC seconds of the first record")] = UNSET
    to_s: Annotated[float | UnsetType, Meta(description="UTC seconds of the last record")] = UNSET
    epoch: Annotated[Epoch | UnsetType, Meta(description="only when another epoch's numbers are meant")] = UNSET


class Began(Struct, kw_only=True):
    """Why an epoch began; what it followed and how far that had got."""

    why: Annotated[str, Meta(extra_json_schema=known("new", "corrupt", "reset", "restored"))]
    prev: Epoch | UnsetType = UNSET
    heads: Heads | UnsetType = UNSET


class Senml(Struct, kw_only=True):
    """One record of a stand-alone RFC 8428 pack: exactly one of v, vb, vs."""

    n: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9\-:./_]*$",
            description="the sensor, as meta names it, or `<sensor>/<word>`: derived, see the contract",
        ),
    ]
    t: Annotated[float, Meta(le=0, description="seconds before `bt`; without `bt` before the pack's `mono`")]
    bt: Bt | UnsetType = UNSET
    u: Unit | UnsetType = UNSET
    v: float | UnsetType = UNSET
    vb: Annotated[bool | UnsetType, Meta(description="a contact: true is active (wet, pulled, open)")] = UNSET
    vs: Annotated[str | UnsetType, Meta(description="a supervised loop: short, normal, alarm, cut")] = UNSET
    q: Quality | UnsetType = UNSET
    src: Src | UnsetType = UNSET


class Event(Struct, kw_only=True):
    """A CloudEvents 1.0 event; `monoms`, `src` and `test` are extension attributes."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(pattern="^[0-9a-f]{8}-[a-z]+-[0-9]+-[0-9]+$", description="<epoch>-<stream>-<n>-<index>")]
    source: Annotated[str, Meta(description="<root>/<gateway>")]
    type: Annotated[str, Meta(pattern=r"^linli\.[a-z_.]+\.v[0-9]+$")]
    subject: Annotated[str, Meta(min_length=1, description="a bus, an alarm, an output or a part of the box")]
    monoms: Annotated[int, Meta(description="when, ms on the boot's clock; below 0: before this boot")]
    time: Annotated[Utc | UnsetType, Meta(description="UTC; left out while the clock is unsure")] = UNSET
    data: dict[str, Any]
    src: Src | UnsetType = UNSET
    test: Annotated[bool | UnsetType, Meta(description="true: born while the test mode was on")] = UNSET


# -- payloads ----------------------------------------------------------------------------------------------------------


class Pack(Struct, kw_only=True):
    """One numbered message of a stream. (gateway, epoch, stream, n) is its identity; `records` never change."""

    v: Literal[1]
    stream: str
    epoch: Epoch
    n: Annotated[int, Meta(ge=1, le=N_LAST, description="from 1, without holes, in this epoch and stream")]
    boot: Boot
    mono: Annotated[float, Meta(ge=0, description="seconds on that boot's clock when the pack was closed")]
    clock: Clock
    err_s: ErrS
    cfg: Cfg
    records: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=PACK_RECORDS_MAX)]


class Status(Struct, kw_only=True):
    """Retained, and the will. Ignore one whose session is lower than the last you saw."""

    v: Literal[1]
    state: Literal["online", "offline"]
    session: Annotated[int, Meta(ge=0, le=N_LAST, description="counts connections, over restarts too")]
    epoch: Epoch
    boot: Boot
    cfg: Cfg
    versions: dict[str, str]
    heads: Annotated[Heads | UnsetType, Meta(description="at connect and at a clean end; not in the will")] = UNSET


class MetaSensor(Struct, kw_only=True):
    """unit: SenML, empty for contacts. valid: readings outside are marked q=range. test_days: to be tried so often."""

    name: str
    kind: str
    unit: str
    point: Annotated[str, Meta(description="<bus>:<point>, or gpio:<pin>")]
    every_s: Annotated[float, Meta(ge=0, description="told at least so often; 0: each reading of the source")]
    stats: Annotated[list[str], Meta(description="statistics of every_s, told as `<sensor>/<statistic>`")]
    valid: Annotated[list[float], Meta(min_length=2, max_length=2)] | None
    test_days: Annotated[int, Meta(ge=1)] | None


class MetaDevice(Struct, kw_only=True):
    """A unit on a Modbus line; a sensor's point begins with its name."""

    bus: str
    address: Annotated[int, Meta(ge=1, le=247)]
    model: str
    serial: Annotated[str, Meta(description="of its plate; empty: not told")]
    poll_s: Annotated[float, Meta(gt=0)]


class MetaAlarm(Struct, kw_only=True):
    name: str
    severity: Severity
    conditions: list[str]
    clear: Annotated[str, Meta(extra_json_schema=known("any", "on-site"))]


class MetaOutput(Struct, kw_only=True):
    kind: str
    travel_s: Annotated[float, Meta(ge=0, description="from end to end")]


class MetaQueue(Struct, kw_only=True):
    """`share` of the tickets are to be called within `within_min`."""

    name: str
    within_min: Annotated[float, Meta(gt=0)]
    share: Annotated[float, Meta(ge=0, le=1)]
    sources: Annotated[list[str] | UnsetType, Meta(description="the kiosks that feed it; left out: all")] = UNSET


class MetaService(Struct, kw_only=True):
    """priority, appointments: letters of its tickets that go before the others, or come at an hour of their own."""

    name: str
    queue: str
    priority: list[str] | UnsetType = UNSET
    appointments: str | UnsetType = UNSET


class MetaWindow(Struct, kw_only=True):
    name: str
    services: list[str]
    accessible: Annotated[bool | UnsetType, Meta(description="true: a low counter or the like; else left out")] = UNSET


class MetaFacility(Struct, kw_only=True):
    """What is kept in order for everybody: `duty` is to mend it within repair_hours and test it each test_days."""

    name: str
    duty: str
    repair_hours: Annotated[float, Meta(gt=0)]
    test_days: Annotated[int, Meta(ge=1)]
    sensors: list[str]


class MetaMachine(Struct, kw_only=True):
    """Several sensors of one machine, which a model looks at together; a condition names it."""

    name: str
    sensors: Annotated[dict[str, str], Meta(description="sensor: what it measures of the machine")]
    every_s: Annotated[float, Meta(gt=0, description="how often the model looks")]


class Dictionary(Struct, kw_only=True):
    """Topic meta, retained: what every name in the packs means. Keep each by its cfg; packs name the one they need."""

    v: Literal[1]
    cfg: Cfg
    site: Annotated[str, Meta(description="the centre's own id: boxes move, centres stay")]
    gateway: Annotated[str, Meta(pattern=f"^{GATEWAY_PATTERN.pattern}$")]
    name: str
    region: Annotated[str, Meta(description="administrative division code")]
    tz: str
    lang: str
    sensors: dict[str, MetaSensor]
    alarms: dict[str, MetaAlarm]
    outputs: dict[str, MetaOutput]
    queues: dict[str, MetaQueue]
    services: dict[str, MetaService]
    windows: dict[str, MetaWindow]
    devices: Annotated[dict[str, MetaDevice] | UnsetType, Meta(description="left out when there is none")] = UNSET
    facilities: Annotated[dict[str, MetaFacility] | UnsetType, Meta(description="left out when there is none")] = UNSET
    machines: Annotated[dict[str, MetaMachine] | UnsetType, Meta(description="left out when there is none")] = UNSET
    obey: Annotated[list[str] | UnsetType, Meta(description="classes of commands that it obeys; left out: none")] = (
        UNSET
    )
    open: Annotated[str | UnsetType, Meta(description="opening hours, local time: docs/site-file.md")] = UNSET


class Latest(Struct, kw_only=True):
    """value null: the source said something that is no number."""

    value: Value | None
    age_s: float


class FloodOfAlarms(Struct, kw_only=True):
    """More alarms than a person can take in: how many since it began, and which was the first out."""

    alarms: Count
    first: str


class Hand(Struct, kw_only=True):
    """Somebody holds an output."""

    action: Literal["close", "open", "on", "off"]
    by: str
    left_s: Count


class Mode(Struct, kw_only=True):
    """place: a sensor's id or what it begins with; empty: the whole centre."""

    mode: Annotated[str, Meta(extra_json_schema=known("test", "maintenance"))]
    place: str
    by: str
    left_s: Count


class State(Struct, kw_only=True):
    """Topic state, retained: for a screen. At each alarm change, once a minute. A sensor that never spoke is absent."""

    v: Literal[1]
    boot: Boot
    mono: Mono
    wall: Annotated[float | None, Meta(description="UTC seconds; null while the clock is unsure")]
    values: dict[str, Latest]
    alarms: Annotated[dict[str, Standing], Meta(description="those that are not normal")]
    flood: Annotated[FloodOfAlarms | UnsetType, Meta(description="left out while there is none")] = UNSET
    outputs: Annotated[dict[str, bool], Meta(description="true: energised")]
    hands: Annotated[dict[str, Hand] | UnsetType, Meta(description="outputs that somebody holds, until an end")] = UNSET
    modes: Annotated[list[Mode] | UnsetType, Meta(description="test and maintenance that are on")] = UNSET
    queues: dict[str, QueueState]
    left_out: Annotated[
        dict[str, Count] | UnsetType, Meta(description="how many of values, queues, alarms did not fit; mostly absent")
    ] = UNSET


class Reject(Struct, kw_only=True):
    n: N
    why: Annotated[str, Meta(description="one line for a person")]


class StreamAck(Struct, kw_only=True):
    """upto: 1..upto are held or named in a gap. also: held beyond that. missing: send again. reject: never again."""

    upto: Count = 0
    also: list[Range] = []
    missing: list[Range] = []
    reject: list[Reject] = []


class Ack(Struct, kw_only=True):
    """From the ledger alone, after its commit. Streams that are not named are not touched."""

    v: Literal[1]
    epoch: Epoch
    streams: dict[str, StreamAck]
    pace: Annotated[dict[str, Any], Meta(description="reserved; this version of the gateway takes no notice")] = {}

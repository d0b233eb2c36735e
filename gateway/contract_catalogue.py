"""The catalogue: every type of event, alarm and health record, and what stands in its `data`."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.contract_commands import CommandDone, CommandRefused
from gateway.contract_deeds import (
    ModeBegan,
    ModeEnded,
    OutputAsked,
    OutputChanged,
    OutputExercised,
    OutputProved,
    OutputRefused,
    ReactionHeld,
)
from gateway.contract_hall import QueueFigures, RatedBadly
from gateway.contract_types import (
    U32,
    AlarmState,
    Boot,
    Clock,
    Count,
    Epoch,
    ErrS,
    Heads,
    Mono,
    N,
    Severity,
    Some,
    Src,
    Utc,
    Value,
    known,
)


class Ticket(Struct, kw_only=True):
    """What happened to a ticket; value is its label. A kiosk may say more than is listed here, as text.

    ticket: its identity over all events, <queue or source>/<local business day>/<service>/<run>/<number>; left out when
    it cannot be told. The day is "unsure" before the box first knew the time.
    """

    value: str | None
    ticket: str | UnsetType = UNSET
    service: str | UnsetType = UNSET
    number: U32 | UnsetType = UNSET
    label: str | UnsetType = UNSET
    window: str | UnsetType = UNSET
    to: Annotated[str | UnsetType, Meta(description="where a transferred ticket goes")] = UNSET
    printed: Annotated[str | UnsetType, Meta(description="the time as it stands on the slip")] = UNSET
    ahead: Annotated[Count | UnsetType, Meta(description="how many waited before it, as the slip says")] = UNSET
    address: Annotated[Count | UnsetType, Meta(description="of the terminal or pad on its line")] = UNSET
    grade: Annotated[int, Meta(ge=1, le=5)] | UnsetType = UNSET


class Rating(Ticket, kw_only=True):
    """value: 1 to 5 (5 is best), null when the person was asked and gave none. pad: the point, for a rating pad."""

    value: Annotated[int, Meta(ge=1, le=5)] | None  # type: ignore[assignment]
    pad: str | UnsetType = UNSET


class WindowChanged(Struct, kw_only=True):
    """A counter opened, paused or closed; value is its name."""

    value: str | None
    window: str | UnsetType = UNSET
    address: Count | UnsetType = UNSET


class FacilityLog(Struct, kw_only=True):
    """One entry of the log of a facility (the subject): what is true of it from then on; `daily` only says it again.

    A facility is out of service while a case is open. unknown: its sensors were silent, or the gateway was off.
    """

    value: Annotated[str, Meta(extra_json_schema=known("in-service", "out-of-service", "unknown"))]
    case: Annotated[Count, Meta(description="of the open case, or the last one; counts the facility's cases")]
    cause: Annotated[str, Meta(description='of that case: "sensor:<id>", "alarm:<name>", "hand"; empty: there is none')]
    opened: Annotated[Utc | None, Meta(description="of the open case, or of the one just repaired; null: none")]
    tested: Annotated[Utc | None, Meta(description="when it was tested last; null: not yet, or the time is unsure")]
    by: Annotated[str | UnsetType, Meta(description="who did it: a person, or what is named as a cause")] = UNSET
    note: str | UnsetType = UNSET
    unwatched_s: Annotated[
        Some | UnsetType, Meta(description="the gateway was off: so long before this entry the state is unknown")
    ] = UNSET


class NightWater(Struct, kw_only=True):
    """What a meter (the subject) counted from midnight to five, local time, told at five."""

    value: Annotated[Some | None, Meta(description="m3; null: the night was not seen from beginning to end")]
    day: Annotated[str, Meta(description="local date of the night's morning")]
    begun: Annotated[Utc, Meta(description="when counting began")]


class ModelCounts(Struct, kw_only=True):
    """Windows that the two versions side by side scored above 0.9: both of them, or one alone."""

    minutes: Count
    windows: Count
    both: Count
    only_active: Count
    only_other: Count
    shed: Annotated[Count, Meta(description="runs of the other version left out, for want of time")]


class ModelDecided(Struct, kw_only=True):
    """Which version of a model (the subject) runs from now on, or runs beside it, and why."""

    value: Literal["shadowed", "promoted", "confirmed", "rolled-back", "withdrawn", "learns-anew"]
    version: Annotated[str, Meta(description="the version this is about")]
    of: Annotated[str | UnsetType, Meta(description="of learns-anew: which sensor or machine")] = UNSET
    active: Annotated[str, Meta(description="the version that scores now")]
    by: Annotated[str, Meta(description="who wanted it, or rule")]
    why: str | UnsetType = UNSET
    counts: Annotated[ModelCounts | UnsetType, Meta(description="of the time side by side that ends")] = UNSET


class MeterSwapped(Struct, kw_only=True):
    """A total fell: another meter hangs there. The sensor goes on from `was` by adding `offset` to what it reads."""

    value: Annotated[float, Meta(description="what the new meter read first, SI")]
    was: Annotated[float, Meta(description="the last reading of the old one, SI")]
    point: str
    offset: float


class SettingsChanged(Struct, kw_only=True):
    """A setting of a unit is not what it was; while it is not `expected`, readings that rest on it are faults."""

    value: Count
    setting: str
    expected: Count
    was: Count


class SourceLost(Struct, kw_only=True):
    """Numbers first..last of a node or kiosk that it could not keep; `src` names the last one."""

    value: None
    first: Count
    last: Count


class ClockSynced(Struct, kw_only=True):
    """At `mono` of this boot it was `wall` UTC seconds: corrects every pack of that boot, earlier ones too."""

    value: Clock
    boot: Boot
    mono: Mono
    wall: float
    err_s: ErrS


class Because(Struct, kw_only=True):
    """One thing that a model's score is made of. Of a pump: a sensor, and far below 0 where it says too little."""

    what: str
    far: Annotated[float, Meta(description="times its record (generic) or limit (inflow, pump), or part of the score")]


class AlarmCause(Struct, kw_only=True):
    """The condition as the site file writes it, and the value that made it hold."""

    condition: str
    value: Value
    src: Annotated[Src | UnsetType, Meta(description="the record that did it")] = UNSET
    model: str | UnsetType = UNSET
    version: Annotated[str | UnsetType, Meta(description="of the model")] = UNSET
    limit: Annotated[float | UnsetType, Meta(description="what the score had to be above by the sensor's past")] = UNSET
    because: Annotated[list[Because] | UnsetType, Meta(description="what the model found, most first")] = UNSET
    first: Annotated[str | UnsetType, Meta(description="of a flood: the alarm that came first")] = UNSET


ALARM_STEPS = (
    "came", "went", "acknowledged", "reset", "shelved", "unshelved", "chatters", "calm", "escalated",
)  # fmt: skip


class Chatter(Struct, kw_only=True):
    """How often the cause came, in what time."""

    times: Annotated[int, Meta(ge=2)]
    within_s: Some


class Alarm(Struct, kw_only=True):
    """A full snapshot at each step of its life (ISA-18.2); state and prev may be equal, `what` says why it is told."""

    value: Annotated[AlarmState, Meta(description="the same as state")]
    alarm_id: str
    state: AlarmState
    prev: AlarmState
    severity: Severity
    since: Annotated[Utc | None, Meta(description="of this state; null while the clock is unsure")]
    cause: Annotated[AlarmCause | None, Meta(description="of its last coming; null: it never came")]
    test: Annotated[bool, Meta(description="this occurrence came while the test mode was on")]
    name: str
    occurrence: Annotated[int, Meta(ge=0, description="counts how often it has come; with alarm_id its identity")]
    what: Annotated[str, Meta(extra_json_schema=known(*ALARM_STEPS))]
    active: Annotated[bool, Meta(description="whether its cause is there")]
    acknowledged: bool
    by: Annotated[str | UnsetType, Meta(description="desk, button, page or city; a name behind `:`")] = UNSET
    escalation: Annotated[int, Meta(ge=1, description="step of not being acknowledged")] | UnsetType = UNSET
    chatter: Annotated[Chatter | UnsetType, Meta(description="it comes too often, and stands meanwhile")] = UNSET
    order: Annotated[int, Meta(ge=1, description="of its last coming among its group's, or all")] | UnsetType = UNSET
    first_out: Annotated[bool | UnsetType, Meta(description="the order is 1")] = UNSET
    group: str | UnsetType = UNSET
    summarised: Annotated[bool | UnsetType, Meta(description="told to people by `box:flood`, not by itself")] = UNSET
    shelved_s: Annotated[float | UnsetType, Meta(description="out of sight for so long since it was shelved")] = UNSET
    maintenance: Annotated[
        bool | UnsetType, Meta(description="it came while all that it looks at was under maintenance")
    ] = UNSET


class Process(Struct, kw_only=True):
    rss_mib: Some
    cpu_s: Some
    threads: Count
    files: Count
    written_b: Annotated[Count | None, Meta(description="null where the kernel does not tell")]


class Disk(Struct, kw_only=True):
    db_mib: Some
    free_mib: Some


class UplinkHealth(Struct, kw_only=True):
    connected: bool
    packs: Count
    bytes: Count
    connections: Count
    acked: Annotated[Heads, Meta(description="how far the city's acks have come")]


class ModbusUnit(Struct, kw_only=True):
    """One unit on a Modbus line, counted since the start. wrong: {setting: [found, expected]} where they differ."""

    address: Annotated[int, Meta(ge=1, le=247)]
    offline: bool
    asked: Count
    good: Count
    bad: Annotated[Count, Meta(description="answers with a wrong CRC, or cut short")]
    silent: Count
    late: Count
    doubled: Annotated[Count, Meta(description="more came behind a good answer: two units at one address?")]
    refused: Annotated[str, Meta(description="the last request it answered with an exception")]
    rewritten: Annotated[Count, Meta(description="outputs that were found otherwise than they were put")]
    silent_s: Some | None
    settings: Annotated[dict[str, int], Meta(description="as they were read last")]
    wrong: dict[str, list[int]]


class Line(Struct, kw_only=True):
    """One bus: whether it is open, how far its source is taken and durable, frames, the source's heartbeat."""

    open: bool
    error: str
    hello: bool
    boot: U32
    received: U32
    durable: U32
    ring: Count
    good: Count
    bad: Count
    silent_s: Some
    beat: dict[str, int]
    refused: Annotated[str | UnsetType, Meta(description="why a node does not take its settings, or empty")] = UNSET
    units: Annotated[dict[str, ModbusUnit] | UnsetType, Meta(description="of a Modbus line, by device")] = UNSET


class Health(Struct, kw_only=True):
    """Once a minute. `heads` names what must exist by now: a ledger compares it with what it holds."""

    value: Literal["well", "trouble"]
    troubles: list[str]
    heads: Heads
    uptime_s: Count
    process: Process
    disk: Disk
    commits: Count
    tick_ms_max: Some
    waiting: Annotated[Count, Meta(description="records not yet on the disk")]
    uplink: UplinkHealth
    ports: dict[str, Line]
    model: Annotated[str, Meta(description="what is wrong with the learned detector; empty: nothing")]
    raw_given_up: Annotated[Count, Meta(description="raw samples that were not kept their time, since the start")]


class DiskWord(Struct, kw_only=True):
    value: Annotated[str, Meta(description="what is wrong with the disk; empty in disk.well")]


class PackRejected(Struct, kw_only=True):
    """A pack the city refused is kept on the box and named in a gap."""

    value: N
    stream: str
    epoch: Epoch
    why: str


class Snapshot(Struct, kw_only=True):
    """Each hour: all that a replaced box needs to go on; `linli db restore-snapshot` takes the parts of one moment."""

    value: Literal["hour"]
    part: Annotated[int, Meta(ge=1)]
    parts: Annotated[int, Meta(ge=1, description="of this moment; more than one when it is long")]
    keep: Annotated[
        dict[str, Any],
        Meta(
            description="by `<sort>:<name>`: alarm, born, run, output, hand, reaction, mode, exercise, level, pulses, …"
        ),
    ]


class Probe(Struct, kw_only=True):
    """`linli doctor` tries the way to the ledger."""

    value: str
    sensor: str | UnsetType = UNSET


_TICKET = (
    "issued", "called", "recalled", "serving", "served", "no_show", "transferred", "cancelled",
    "reprinted",  # the slip of a ticket was printed again: no new ticket
)  # fmt: skip

_FACILITY = ("opened", "acknowledged", "repaired", "tested", "unwatched", "watched", "daily")

RECORD_TYPES: dict[str, dict[str, type[Struct]]] = {
    "alarms": {"alarm": Alarm},
    "events": {f"ticket.{what}": Ticket for what in _TICKET}
    | {f"window.{what}": WindowChanged for what in ("opened", "paused", "closed")}
    | {f"facility.{what}": FacilityLog for what in _FACILITY}
    | {
        "ticket.rated": Rating,
        "ticket.rated_badly": RatedBadly,
        "queue.figures": QueueFigures,
        "output.changed": OutputChanged,
        "output.refused": OutputRefused,
        "output.proved": OutputProved,
        "output.asked": OutputAsked,
        "output.exercised": OutputExercised,
        "reaction.held": ReactionHeld,
        "mode.began": ModeBegan,
        "mode.ended": ModeEnded,
        "command.done": CommandDone,
        "command.refused": CommandRefused,
        "source.lost": SourceLost,
        "clock.synced": ClockSynced,
        "water.night": NightWater,
        "model.decided": ModelDecided,
        "meter.swapped": MeterSwapped,
        "settings.changed": SettingsChanged,
    },
    "readings": {},
    "health": {
        "health": Health,
        "probe": Probe,
        "snapshot": Snapshot,
        "disk.trouble": DiskWord,
        "disk.well": DiskWord,
        "pack.rejected": PackRejected,
    },
}
"""{stream: {type: what its `data` is}}; "ticket.issued" travels as "linli.ticket.issued.v1"."""

MAY_SAY_MORE = (Ticket, Rating, WindowChanged)  # text the kiosk's maker added goes through

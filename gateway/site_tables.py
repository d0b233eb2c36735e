"""The tables of a site file, as frozen structs: their keys, their defaults, and what each accepts.

NOT_YET names keys that a later version will know and that must not be ignored until then.
"""

import math
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from drivers.kinds import KINDS
from gateway.conditions import Condition
from gateway.site_hall import Facility, Queue, Service, Window
from gateway.site_machines import Machine
from gateway.site_outputs import Output, ReactionTable, TestMode
from gateway.site_page import Page
from gateway.site_types import (
    KEY,
    Address,
    Broker,
    Button,
    Code,
    Comings,
    CommandClass,
    CubicMetres,
    Days,
    Deadband,
    FileRef,
    Hours,
    InFlight,
    KeepAlive,
    KindName,
    Label,
    Limits,
    Line,
    Litres,
    Megabytes,
    Milliseconds,
    Minutes,
    Model,
    Name,
    NodeSetting,
    NodeSettingName,
    Pin,
    Point,
    Port,
    Region,
    Seconds,
    SensorId,
    Serial,
    SettingName,
    ShelfHours,
    Slug,
    SomeSeconds,
    StatisticName,
    Table,
    TableName,
    TicketLines,
    Title,
    Topic,
    Way,
    Wiring,
    Zone,
)


class Place(Table, frozen=True):
    """`site`: which centre this is, and which box."""

    NOT_YET = frozenset({"holidays", "power"})
    id: Slug
    gateway: Slug
    name: Title
    region: Region = ""
    tz: Zone = "Asia/Shanghai"
    open: Hours = ""
    lang: Literal["zh-CN", "en"] = "zh-CN"


class ClockSettings(Table, frozen=True):
    """trust: "kernel" believes the wall clock once the kernel says it is synchronised, "system" at once."""

    NOT_YET = frozenset({"ntp", "rtc", "wait_s"})
    trust: Literal["kernel", "system"] = "kernel"


LINE_NOT_GIVEN = "115200 8N1"
"""This very object stands in a Bus whose `line` was not written."""


OVERHEARD = ("escpos", "call-bus", "rating-pad")
"""Kinds of bus that are only listened to."""

KIOSKS = ("kiosk-line", "escpos")
"""Kinds of bus that tickets come from."""

SILENT_S = 15.0
"""Of a bus whose silent_s was not written; what is only overheard may be silent for ever."""


class Bus(Table, frozen=True, rename={"name": "key"}):
    """One serial line: a node on it, a kiosk, Modbus units, or something overheard. silent_s: it counts as silent then.

    Of a Modbus line: timeout_ms until an answer begins, gap_ms of silence between frames (None: 3.5 characters). Of a
    printer's line: ticket, its template; text, how it is coded; reprint, what stands on a slip printed again. Of call
    terminals and pads: table, how they frame. node: settings of the node there, by drivers/node_settings.py.
    """

    name: Annotated[str, KEY]
    kind: Literal["node", "kiosk-line", "modbus", "escpos", "call-bus", "rating-pad"]
    port: Port
    line: Line = LINE_NOT_GIVEN
    silent_s: SomeSeconds | None = None
    timeout_ms: Milliseconds = 300
    gap_ms: Milliseconds | None = None
    node: dict[NodeSettingName, NodeSetting] = {}
    ticket: TicketLines | None = None
    text: Literal["gb18030", "big5", "utf-8", "cp437"] | None = None
    reprint: Title = ""
    table: TableName = ""

    @property
    def is_overheard(self) -> bool:
        return self.kind in OVERHEARD

    @property
    def patience_s(self) -> float:
        """For how long it may be silent."""
        if self.silent_s is None:
            return math.inf if self.is_overheard else SILENT_S
        return self.silent_s

    def completed(self) -> "Bus":
        """With what follows from its kind filled in."""
        silent_s = None if math.isinf(self.patience_s) else self.patience_s
        text = self.text or ("gb18030" if self.kind == "escpos" else None)
        return msgspec.structs.replace(self, silent_s=silent_s, text=text)


class Device(Table, frozen=True, rename={"name": "key"}):
    """A Modbus unit. model: its device file. poll_s, silent_s: None for the device file's, and 15 s or 3 polls.

    expect: what its settings must be, before what the device file expects.
    """

    name: Annotated[str, KEY]
    bus: Name
    address: Address
    model: Model
    serial: Serial = ""
    poll_s: SomeSeconds | None = None
    silent_s: SomeSeconds | None = None
    expect: dict[SettingName, Code] = {}


PULSE_POINTS = {"flow": "flow", "total": "total"}
"""Points of a pulse meter -> their kinds."""


class Pulse(Table, frozen=True, rename={"name": "key"}):
    """A meter that closes a contact for each `litres`. start_m3: what it showed when it was connected."""

    name: Annotated[str, KEY]
    pin: Pin
    litres: Litres
    debounce_ms: Milliseconds = 20
    start_m3: CubicMetres = 0.0


class Report(Table, frozen=True):
    """When a reading is told: beyond the deadband, and at least every `every_s`; 0 = each one.

    stats: of all samples of each interval of every_s, told besides.
    """

    every_s: Seconds = 60.0
    deadband: Deadband = 0.0
    stats: Annotated[
        list[StatisticName], Meta(description="a list of statistics", extra={"example": '["mean", "max"]'})
    ] = []


NOT_GIVEN = Report()
"""This very object stands in a Sensor whose `report` was not written."""

FAMILIES = {"flow": "flow", "total": "total", "temp": "temperature", "loop": "", "contact": "", "gpio": ""}
"""Sort of point -> the kind of its sensor; "" = some contact, the site file says which."""

WIRINGS = {"gpio": ("normally-open", "normally-closed"), "loop": ("supervised-2k2-8k2",)}
"""Sort of point -> how it may be wired, the default first."""


class Sensor(Table, frozen=True, rename={"id": "key", "point": "from"}):
    """A role given to a point. After `load`, kind, name, wiring and report are never empty by omission.

    wiring: "" for sensors that are no contact, and for a node's contact points (wired in the node).
    on_s, off_s: debounce of a pin. latch: stays active until reset on the spot.
    stuck_s: active, or the very same number, for so long is an alarm.
    valid: readings outside (low, high) are marked as faults. test_days: to be tried at least that often.
    facility: whose state it tells.
    report: a node's readings are each reported (every_s = 0) unless the site file says otherwise.
    """

    NOT_YET = frozenset({"show", "dial", "replaces"})
    id: Annotated[str, KEY]
    point: Point
    kind: KindName = ""
    name: Title = ""
    wiring: Wiring = ""
    on_s: Seconds = 0.0
    off_s: Seconds = 0.0
    latch: bool = False
    silent_s: SomeSeconds | None = None
    stuck_s: SomeSeconds | None = None
    valid: Limits | None = None
    report: Report = NOT_GIVEN
    test_days: Days | None = None
    facility: Name | None = None

    @property
    def unit(self) -> str:
        """SenML unit of the values, "" for contacts."""
        return KINDS[self.kind].unit

    @property
    def source(self) -> str:
        """Name of the bus, or "gpio"."""
        return self.point.partition(":")[0]

    @property
    def family(self) -> str:
        """What sort of point: "gpio", or of a node "flow", "total", "temp", "loop", "contact"."""
        source, _, name = self.point.partition(":")
        return source if source == "gpio" else name.rstrip("0123456789")

    def completed(self, polled_kind: str | None = None) -> "Sensor":
        """With what follows from the point filled in: one of FAMILIES, or a device's with that kind."""
        polled = polled_kind is not None
        each_one = self.report is NOT_GIVEN and self.source != "gpio" and not polled
        return msgspec.structs.replace(
            self,
            kind=self.kind or (polled_kind if polled_kind is not None else FAMILIES[self.family]),
            name=self.name or self.id,
            wiring=self.wiring or ("" if polled else WIRINGS.get(self.family, ("",))[0]),
            report=Report(every_s=0.0) if each_one else self.report,
        )


class Chatter(Table, frozen=True):
    """times comings within within_s are one alarm that chatters, until calm_s have gone by without a change.

    hold_s: it stands so long at least.
    """

    times: Comings = 3
    within_s: SomeSeconds = 60.0
    calm_s: SomeSeconds = 60.0
    hold_s: Seconds = 0.5


class Alarm(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """Active when any condition has held for on_s; over when none has held for off_s.

    latch: stays until it is cleared by hand. clear: from where; "on-site" refuses the city's hand. ack: from where it
    may be acknowledged and shelved; [] is anywhere. button: after `load` always a sensor. escalate_min: None is by
    severity. group: alarms that share a first-out.
    """

    name: Annotated[str, KEY]
    title: Title
    severity: Literal["urgent", "high", "low"]
    any: Annotated[
        list[Condition],
        Meta(min_length=1, description="a list of conditions", extra={"example": '["basement/rope is wet"]'}),
    ]
    on_s: Seconds = 0.0
    off_s: Seconds = 0.0
    latch: bool = False
    clear: Literal["any", "on-site"] = "any"
    ack: Annotated[
        list[Way], Meta(min_length=1, description="a list of ways", extra={"example": '["button", "city"]'})
    ] = []
    button: Button = ""
    escalate_min: Annotated[
        list[Minutes] | None, Meta(description="a list of minutes", extra={"example": "[3, 15]"})
    ] = None
    shelve_h: ShelfHours = 8.0
    chatter: Chatter = Chatter()
    group: Name = ""


BUTTON_ON_S = 0.03  # a push button bounces for less


def button_sensor(pin: str) -> str:
    """The sensor that stands for a button given by its pin."""
    return f"button/{pin.replace(':', '')}"


class Uplink(Table, frozen=True):
    """The way to the city. window: messages under way at most. gzip: packs may be compressed.

    obey: classes of commands that the city may send. keys: files of whose owners it obeys, minisign's .pub.
    """

    NOT_YET = frozenset({"month_mb"})
    broker: Broker
    root: Topic = "linli"
    mqtt: Literal["auto", "5", "3.1.1"] = "auto"
    confirm: Literal["city", "broker"] = "city"
    window: InFlight = 20
    keepalive_s: KeepAlive = 50
    gzip: bool = True
    resend_s: SomeSeconds = 600.0
    obey: Annotated[
        list[CommandClass], Meta(description="a list of classes of commands", extra={"example": '["read", "operate"]'})
    ] = []
    keys: Annotated[list[FileRef], Meta(description="a list of files", extra={"example": '["file:city.pub"]'})] = []

    @property
    def host(self) -> str:
        return urlsplit(self.broker).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.broker).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        return self.broker.startswith("mqtts://")


class Store(Table, frozen=True):
    budget_mb: Megabytes = 4000
    commit_every_s: SomeSeconds = 30.0
    node_commit_ms: Milliseconds = 30_000
    confirmed_days: Days = 7
    event_days: Days = 62
    raw_days: Days = 7
    minute_days: Days = 400
    ratings_days: Days = 90


class Tls(Table, frozen=True):
    """Files, relative to the site file's folder; `Site.file` gives their paths."""

    ca: FileRef
    key: FileRef | None = None
    cert: FileRef | None = None
    profile: Literal["tls1.2+", "tls1.3"] = "tls1.2+"


class SiteFile(Table, frozen=True):
    """The whole file, table by table."""

    NOT_YET = frozenset({"extends", "profile", "detector"})
    schema: Annotated[Literal[1], Meta(extra={"example": "1"})]
    site: Place
    uplink: Uplink
    clock: ClockSettings = ClockSettings()
    bus: dict[Name, Bus] = {}
    device: dict[Name, Device] = {}
    pulse: dict[Name, Pulse] = {}
    sensor: dict[SensorId, Sensor] = {}
    machine: dict[Name, Machine] = {}
    output: dict[Name, Output] = {}
    alarm: dict[Name, Alarm] = {}
    reaction: dict[Name, ReactionTable] = {}
    queue: dict[Name, Queue] = {}
    service: dict[Label, Service] = {}
    window: dict[Label, Window] = {}
    facility: dict[Name, Facility] = {}
    store: Store = Store()
    test: TestMode = TestMode()
    page: Page | None = None
    tls: Tls | None = None

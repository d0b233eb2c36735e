"""What a value in a site file may be, in words and by example.

The reader makes its errors from them: `description` is what was expected, `example` what to write.
"secret": the value is never repeated in an error. "choices": the words there are to choose from.
Times are seconds (`_s`) unless the name says otherwise; limits and deadbands are in the SI unit of the
sensor's kind (drivers/kinds.py).
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from drivers.kinds import KINDS
from gateway.conditions import NAME, SENSOR_ID
from gateway.opening import FORM
from gateway.recurring import FORM as RECURRING
from gateway.reporting import STATISTICS


class Table(Struct, frozen=True):
    """What every table of a site file is. NOT_YET: keys that a later version will know, refused until then."""

    NOT_YET: ClassVar[frozenset[str]] = frozenset()


KEY = Meta(extra={"key": True})
"""A key that takes the name of its own table (`bus.n1` -> name "n1") and is never written."""

Slug = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z0-9-]{3,40}\Z",
        description="3 to 40 of a-z, 0-9 and -",
        extra={"example": '"sh-pd-0412-a"'},
    ),
]
Title = Annotated[
    str,
    Meta(
        pattern=r"\A(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,64}\Z",
        description="a text of 1 to 64 characters in one line",
        extra={"example": '"地下室总表流量"'},
    ),
]
Name = Annotated[
    str,
    Meta(
        pattern=rf"\A{NAME}\Z",
        description="a name that starts with a-z and goes on with a-z, 0-9 and -, 32 at most",
        extra={"example": '"n1"'},
    ),
]
SensorId = Annotated[
    str,
    Meta(
        pattern=rf"\A{SENSOR_ID}\Z",
        description="a sensor id: a letter or digit, then letters, digits and - . / _, 64 at most",
        extra={"example": '"basement/main/flow"'},
    ),
]
Label = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9-]{0,15}\Z",
        description="up to 16 letters, digits and -, as the kiosk sends it",
        extra={"example": '"A"'},
    ),
]
Region = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9]{6,12}\Z",
        description="a region code of 6 to 12 digits",
        extra={"example": '"310115000000"'},
    ),
]
TimeOfDay = Annotated[
    str,
    Meta(
        pattern=r"\A(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z",
        description="a time of day from 00:00 to 24:00",
        extra={"example": '"16:45"'},
    ),
]
Hours = Annotated[str, Meta(description=FORM, extra={"example": '"mon-fri 08:30-17:00"'})]
Moments = Annotated[str, Meta(description=RECURRING, extra={"example": '"monthly sun 06:00"'})]
Zone = Annotated[str, Meta(description="a time zone", extra={"example": '"Asia/Shanghai"'})]
Port = Annotated[
    str,
    Meta(
        pattern=r"\A(usb:[0-9]+-[0-9]+(\.[0-9]+)*|link:[a-z0-9][a-z0-9._-]*|/dev/[A-Za-z0-9._:/-]+)\Z",
        description='a port: "usb:1-1.2" (a socket of the box), "link:n1" (the simulator\'s) or "/dev/…"',
        extra={"example": '"usb:1-1.2"'},
    ),
]
Line = Annotated[
    str,
    Meta(
        pattern=r"\A[1-9][0-9]{2,6} [78][NEO][12]\Z",
        description="speed, data bits, parity and stop bits",
        extra={"example": '"115200 8N1"'},
    ),
]
Point = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z][a-z0-9-]*:[A-Za-z0-9_-]+\Z",
        description='a point: "<bus>:<point>" or "gpio:<BCM number>"',
        extra={"example": '"n1:flow1"'},
    ),
]
Pin = Annotated[
    str,
    Meta(
        pattern=r"\Agpio:(1?[0-9]|2[0-7])\Z",
        description="a pin from gpio:0 to gpio:27 (BCM numbers)",
        extra={"example": '"gpio:4"'},
    ),
]
Litres = Annotated[float, Meta(ge=0.001, le=10_000, description="litres, 0.001 to 10000", extra={"example": "10"})]
CubicMetres = Annotated[float, Meta(ge=0, le=1e9, description="cubic metres, from 0", extra={"example": "1234.5"})]
Drive = Annotated[
    str,
    Meta(
        pattern=r"\A(gpio:(1?[0-9]|2[0-7])|(?!gpio:)[a-z][a-z0-9-]*:[a-z][a-z0-9_]*)\Z",
        description='a pin from gpio:0 to gpio:27 (BCM numbers), or an output of a device, "<device>:<point>"',
        extra={"example": '"gpio:5"'},
    ),
]
Rest = Annotated[Literal["off", "on", "keep", "open", "close"], Meta(extra={"example": '"keep"'})]
Contact = Annotated[
    str,
    Meta(
        pattern=rf"\A({SENSOR_ID}|[a-z][a-z0-9-]*:[A-Za-z0-9_-]+)\Z",
        description='a contact: "<device>:<point>", or the id of a sensor',
        extra={"example": '"io1:di5"'},
    ),
]
ModeName = Annotated[str, Meta(extra={"choices": ("maintenance", "test")})]
TestMinutes = Annotated[float, Meta(gt=0, le=240, description="minutes, above 0, 240 at most", extra={"example": "15"})]
Model = Annotated[
    str,
    Meta(
        pattern=r"\A([a-z0-9][a-z0-9-]{0,39}|file:/[^\x00-\x1f\x7f]+)\Z",
        description='a device file that comes with Linli, or one of your own: "file:/PATH"',
        extra={"example": '"tuf-2000m"'},
    ),
]
TableName = Annotated[
    str,
    Meta(
        pattern=r"\A([a-z0-9][a-z0-9-]{0,39}|file:/[^\x00-\x1f\x7f]+)\Z",
        description='a frame table that comes with Linli, or one of your own: "file:/PATH"',
        extra={"example": '"keypad-21"'},
    ),
]
TicketLine = Annotated[
    str,
    Meta(
        pattern=r"\A(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,128}\Z",
        description="a line of the ticket, 1 to 128 characters",
        extra={"example": '"您的号码: {label}"'},
    ),
]
TicketLines = Annotated[
    list[TicketLine],
    Meta(
        min_length=1,
        max_length=20,
        description="1 to 20 lines of a printed ticket",
        extra={"example": '["您的号码: {label}"]'},
    ),
]
Terminal = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z][a-z0-9-]*:[A-Za-z0-9_-]+\Z",
        description='a terminal or pad: "<bus>:<address>", or "<node>:pad<number>"',
        extra={"example": '"c1:3"'},
    ),
]
LabelForm = Annotated[
    str,
    Meta(
        pattern=r"\A[^{}\x00-\x1f]{0,8}(\{service\})?[^{}\x00-\x1f]{0,8}\{number(:0[1-6])?\}\Z",
        description="a label of {service} and {number} or {number:03}",
        extra={"example": '"{service}{number:03}"'},
    ),
]
Address = Annotated[int, Meta(ge=1, le=247, description="a unit's address, 1 to 247", extra={"example": "1"})]
Code = Annotated[int, Meta(ge=0, le=65_535, description="a whole number, 0 to 65535", extra={"example": "0"})]
SettingName = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z][a-z0-9_]{0,31}\Z",
        description="the name of a setting of the device file",
        extra={"example": '"total_unit"'},
    ),
]
NodeSetting = Annotated[
    int, Meta(ge=0, le=1_000_000_000, description="a whole number from 0", extra={"example": "200"})
]
NodeSettingName = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z][a-z0-9_]{0,31}\Z",
        description="the name of a node's setting",
        extra={"example": '"loop_hold_ms"'},
    ),
]
Serial = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9._/-]{1,32}\Z",
        description="a serial number of up to 32 letters, digits and . _ / -",
        extra={"example": '"2017-0815"'},
    ),
]
KindName = Annotated[str, Meta(extra={"choices": tuple(KINDS)})]
Wiring = Annotated[str, Meta(extra={"choices": ("normally-open", "normally-closed", "supervised-2k2-8k2")})]
Seconds = Annotated[float, Meta(ge=0, le=86400, description="seconds, 0 to 86400", extra={"example": "30"})]
SomeSeconds = Annotated[float, Meta(ge=0.01, le=86400, description="seconds, 0.01 to 86400", extra={"example": "60"})]
RowSeconds = Annotated[float, Meta(ge=1, le=60, description="seconds, 1 to 60", extra={"example": "1"})]
Milliseconds = Annotated[
    int, Meta(ge=1, le=600_000, description="whole milliseconds, 1 to 600000", extra={"example": "10000"})
]
KeepAlive = Annotated[int, Meta(ge=1, le=65535, description="whole seconds, 1 to 65535", extra={"example": "50"})]
Minutes = Annotated[float, Meta(gt=0, le=1440, description="minutes, above 0, 1440 at most", extra={"example": "15"})]
Days = Annotated[int, Meta(ge=1, le=3660, description="whole days, 1 to 3660", extra={"example": "7"})]
RepairHours = Annotated[float, Meta(gt=0, le=8760, description="hours, above 0, 8760 at most", extra={"example": "24"})]
ShelfHours = Annotated[float, Meta(ge=0, le=24, description="hours, 0 (never) to 24", extra={"example": "8"})]
Comings = Annotated[int, Meta(ge=2, le=100, description="a whole number, 2 to 100", extra={"example": "3"})]
Way = Annotated[str, Meta(extra={"choices": ("desk", "button", "page", "city")})]
Button = Annotated[
    str,
    Meta(
        pattern=rf"\A(gpio:(1?[0-9]|2[0-7])|{SENSOR_ID})\Z",
        description="a button: a pin from gpio:0 to gpio:27 (BCM numbers), or the id of a contact sensor",
        extra={"example": '"gpio:23"'},
    ),
]
Times = Annotated[int, Meta(ge=1, le=1000, description="a whole number, 1 to 1000", extra={"example": "2"})]
InFlight = Annotated[
    int, Meta(ge=1, le=1000, description="a whole number of messages, 1 to 1000", extra={"example": "16"})
]
Megabytes = Annotated[
    int, Meta(ge=1, le=1_000_000, description="whole megabytes, 1 to 1000000", extra={"example": "4000"})
]
Share = Annotated[float, Meta(gt=0, le=1, description="a share, above 0, 1 at most", extra={"example": "0.8"})]
Deadband = Annotated[
    float, Meta(ge=0, le=1e12, description="a number from 0, in the sensor's SI unit", extra={"example": "0.00001"})
]
StatisticName = Annotated[str, Meta(extra={"choices": STATISTICS})]
Limit = Annotated[float, Meta(ge=-1e12, le=1e12)]
Limits = Annotated[
    tuple[Limit, Limit],
    Meta(description="two numbers, [low, high], in the sensor's SI unit", extra={"example": "[0, 0.01]"}),
]
FileRef = Annotated[
    str,
    Meta(
        pattern=r"\Afile:[^\x00-\x1f\x7f]+\Z",
        description='where the file is, never what is in it: "file:PATH"',
        extra={"example": '"file:/var/lib/linli/ca.pem"', "secret": True},
    ),
]
Listen = Annotated[
    str,
    Meta(
        pattern=r"\A([A-Za-z][A-Za-z0-9._-]{0,14}|[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)\Z",
        description="an address of this machine, or the name of a network interface",
        extra={"example": '"eth0"'},
    ),
]
HostName = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z",
        description="a name of a-z, 0-9, - and .",
        extra={"example": '"linli.example"'},
    ),
]
ListenPort = Annotated[
    int, Meta(ge=1024, le=65535, description="a whole number, 1024 to 65535", extra={"example": "8080"})
]
Metres = Annotated[float, Meta(ge=0.5, le=30, description="metres, 0.5 to 30", extra={"example": "5"})]
Millimetres = Annotated[float, Meta(ge=50, le=5000, description="millimetres, 50 to 5000", extra={"example": "620"})]
CommandClass = Annotated[str, Meta(extra={"choices": ("read", "operate")})]
Topic = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\Z",
        max_length=100,
        description="a topic of letters, digits and . _ - /, without + and #, no / at the ends, 100 at most",
        extra={"example": '"sh/pudong/linli"'},
    ),
]
Broker = Annotated[
    str,
    Meta(
        description='a broker: "mqtts://HOST:PORT", or "mqtt://127.0.0.1:PORT" on this machine',
        extra={"example": '"mqtts://192.0.2.10:8883"', "secret": True},
    ),
]

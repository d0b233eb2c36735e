"""The site file: what this centre is and has. `load` gives the settings, checked, or every mistake at once.

site_types.py    what a value may be
site_tables.py, site_hall.py, site_machines.py, site_outputs.py, site_page.py   the tables, their keys and defaults
conditions.py    the sentences of alarms and reactions
site_lines.py    where each key stands in the text
site_reader.py   text to tables, collecting mistakes
site_rules.py, site_devices.py, site_kiosks.py, alarm_rules.py, output_rules.py, facility_rules.py, machine_rules.py,
                 page_rules.py   what must fit between the tables
site_writer.py   the effective settings as text, and their hash
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from drivers.reading import DriverError
from gateway import (
    alarm_rules,
    facility_rules,
    machine_rules,
    output_rules,
    page_rules,
    site_devices,
    site_kiosks,
    site_rules,
)
from gateway.conditions import Condition, ConditionError
from gateway.site_hall import Facility, Queue, Service, Window
from gateway.site_lines import Lines
from gateway.site_machines import Machine
from gateway.site_outputs import Output, TestMode
from gateway.site_page import Page
from gateway.site_reader import Mistake, Problem, Reader, quoted
from gateway.site_tables import (
    BUTTON_ON_S,
    Alarm,
    Bus,
    ClockSettings,
    Device,
    Pulse,
    Report,
    Sensor,
    SiteFile,
    Store,
    Tls,
    Uplink,
    button_sensor,
)
from gateway.site_writer import cfg

__all__ = [
    "Alarm",
    "Bus",
    "ClockSettings",
    "Condition",
    "ConditionError",
    "ConfigErrors",
    "Device",
    "Facility",
    "Machine",
    "Model",
    "Output",
    "Page",
    "Problem",
    "Pulse",
    "Queue",
    "Reaction",
    "Report",
    "Sensor",
    "Service",
    "Site",
    "Store",
    "TestMode",
    "Tls",
    "Uplink",
    "Window",
    "load",
    "problems",
    "read",
    "read_bytes",
    "resolve_port",
]

FILE_MAX_BYTES = 1_000_000

_RULES: tuple[Callable[[SiteFile], Iterator[Mistake]], ...] = (
    site_rules.place_rules,
    site_rules.bus_rules,
    site_devices.device_rules,
    site_rules.sensor_rules,
    site_rules.pin_rules,
    output_rules.output_rules,
    site_rules.service_rules,
    site_kiosks.bus_rules,
    site_kiosks.window_rules,
    site_rules.uplink_rules,
    site_rules.obey_rules,
    site_rules.tls_rules,
    alarm_rules.alarm_rules,
    output_rules.reaction_rules,
    output_rules.test_rules,
    facility_rules.facility_rules,
    machine_rules.machine_rules,
    page_rules.page_rules,
)


class ConfigErrors(Exception):
    """A site file with mistakes: `problems`, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Reaction(msgspec.Struct, frozen=True):
    """Once `alarm` has been active for after_s: `output` does `action`, at most per_day times a day (None: any)."""

    name: str
    alarm: str
    after_s: float
    output: str
    action: str
    per_day: int | None = None
    unless: list[str] = []
    undo: str = ""


class Model(msgspec.Struct, frozen=True):
    """A learned detector that looks at one sensor, or at one machine."""

    name: str
    sensor: str


class Site(msgspec.Struct, frozen=True):
    """The settings as the program uses them. cfg: hash of their meaning; detectors: by "<model> on <sensor>"."""

    id: str
    gateway: str
    name: str
    region: str
    tz: str
    open: str
    lang: str
    schema: int
    cfg: str
    path: Path
    buses: dict[str, Bus]
    devices: dict[str, Device]
    pulses: dict[str, Pulse]
    sensors: dict[str, Sensor]
    machines: dict[str, Machine]
    outputs: dict[str, Output]
    alarms: dict[str, Alarm]
    reactions: dict[str, Reaction]
    clock: ClockSettings
    uplink: Uplink
    store: Store
    test: TestMode
    page: Page | None
    tls: Tls | None
    queues: dict[str, Queue]
    services: dict[str, Service]
    windows: dict[str, Window]
    facilities: dict[str, Facility]
    detectors: dict[str, Model]

    def file(self, reference: str) -> Path:
        """The path of a "file:PATH" reference; a relative one starts at the site file's folder."""
        return self.path.parent / reference.removeprefix("file:")


def load(path: str | Path) -> Site:
    """The settings in the site file at `path`. Raises ConfigErrors with every mistake."""
    file, wrong = read(path)
    if file is None:
        raise ConfigErrors(wrong)
    return _site(file, Path(path))


def problems(path: str | Path) -> list[Problem]:
    """Every mistake in the site file at `path`, in the order of its lines; [] when it is good."""
    return read(path)[1]


def read(path: str | Path) -> tuple[SiteFile | None, list[Problem]]:
    """The file's tables with all defaults filled in, or None and what is wrong. Raises nothing."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "an error").lower()
        return None, [Problem(str(path), 1, "", reason, "a site file", "see that the path is right")]
    return read_bytes(data, str(path))


def read_bytes(data: bytes, name: str) -> tuple[SiteFile | None, list[Problem]]:
    """As `read`, of a file's content. name: what its problems call it."""
    try:
        text = _text(data)
        document = _document(text)
        reader = Reader(name, Lines(text))
        file = reader.table(SiteFile, document)
    except _Unreadable as error:
        return None, [Problem(name, error.line, "", error.found, error.expected, error.do)]
    except RecursionError:
        return None, [Problem(name, 1, "", "brackets nested too deep", "a site file", "take brackets away")]
    for rule in _RULES:
        for mistake in rule(file):
            reader.complain(mistake)
    if reader.problems:
        return None, sorted(reader.problems, key=lambda problem: problem.line)
    return _completed(file), []


def resolve_port(port: str, links_dir: Path | None, by_path: Path = Path("/dev/serial/by-path")) -> Path:
    """The path to open for a bus's `port`. Ask again before each try: a USB port has a path only while plugged in.

    "link:n1" is `n1` in links_dir (the simulator's folder). "usb:1-1.2" is what is plugged into socket 1.2 of
    USB bus 1; while nothing is, the path returned does not exist. "/dev/..." is itself.
    Raises DriverError for a link without links_dir.
    """
    scheme, _, rest = port.partition(":")
    if scheme == "link":
        if links_dir is None:
            raise DriverError(f"found port {port}, expected a folder of links; start with --links DIR")
        return links_dir / rest
    if scheme != "usb":
        return Path(port)
    bus, _, socket = rest.partition("-")
    # udev names the socket, not the bus: "...-usb-0:1.2:1.0-port0", on newer systems also "...-usbv2-0:1.2:1.0".
    plugged = sorted(by_path.glob(f"*usb*-0:{socket}:1.0*"))
    if len(plugged) > 1:  # two controllers, each with such a socket; /sys knows the bus
        plugged = [p for p in plugged if _usb_bus(p) == bus] or plugged
    return plugged[0] if plugged else by_path / f"nothing-in-usb-{rest}"


def _usb_bus(tty_link: Path) -> str:
    """Number of the USB bus that a tty hangs on, "" when it cannot be told."""
    device = (Path("/sys/class/tty") / tty_link.resolve().name / "device").resolve()
    match = re.search(r"/usb([0-9]+)/", str(device))
    return match.group(1) if match else ""


class _Unreadable(Exception):
    """A file that is no TOML text at all."""

    def __init__(self, line: int, found: str, expected: str, do: str) -> None:
        self.line, self.found, self.expected, self.do = line, found, expected, do


def _text(data: bytes) -> str:
    if len(data) > FILE_MAX_BYTES:
        raise _Unreadable(1, "more than 1 MB", "a site file", "see that the path is right")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")  # some editors put a mark before the text
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable(line, "bytes that are no UTF-8", "UTF-8 text", "save the file as UTF-8") from None


def _document(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        reason, _, place = str(error).partition(" (at ")
        reason = reason.partition(";")[0]
        numbers = [int(number) for number in re.findall("[0-9]+", place)]
        line, column = numbers if len(numbers) == 2 else (text.count("\n") + 1, 1)
        rest = text.split("\n")[line - 1][column - 1 :].strip()
        shown = f"{quoted(rest[:20])} at column {column}" if rest else "the end of the line"
        do = "mend it, or the quote or bracket left open before it"
        if "overwrite" in reason or "twice" in reason:
            do = "each key may stand only once: remove one of the two"
        raise _Unreadable(line, shown, f"TOML ({reason})", do) from None


def _completed(file: SiteFile) -> SiteFile:
    """With everything filled in that follows from something else."""
    queues = {
        name: msgspec.structs.replace(
            queue,
            title=queue.title or name,
            services=sorted(label for label, service in file.service.items() if service.queue == name),
        )
        for name, queue in file.queue.items()
    }
    windows = {name: msgspec.structs.replace(w, title=w.title or name) for name, w in file.window.items()}
    sensors = {
        name: sensor.completed(site_devices.fixed_kind(file, sensor) if site_devices.is_polled(file, sensor) else None)
        for name, sensor in file.sensor.items()
    }
    machines = {name: msgspec.structs.replace(m, title=m.title or name) for name, m in file.machine.items()}
    buses = {name: bus.completed() for name, bus in file.bus.items()}
    alarms = {}
    for name, alarm in file.alarm.items():
        button = alarm.button
        if button.startswith("gpio:"):
            button = button_sensor(alarm.button)
            sensors[button] = Sensor(button, alarm.button, "button", on_s=BUTTON_ON_S).completed()
        ack = alarm.ack or ["desk", "page", "city", *(["button"] if button else [])]
        alarms[name] = msgspec.structs.replace(alarm, button=button, ack=ack)
    return msgspec.structs.replace(
        file, bus=buses, sensor=sensors, machine=machines, queue=queues, window=windows, alarm=alarms
    )


def _site(file: SiteFile, path: Path) -> Site:
    conditions = [condition for alarm in file.alarm.values() for condition in alarm.any]
    return Site(
        id=file.site.id,
        gateway=file.site.gateway,
        name=file.site.name,
        region=file.site.region,
        tz=file.site.tz,
        open=file.site.open,
        lang=file.site.lang,
        schema=file.schema,
        cfg=cfg(file),
        path=path,
        buses=file.bus,
        devices=file.device,
        pulses=file.pulse,
        sensors=file.sensor,
        machines=file.machine,
        outputs=file.output,
        alarms=file.alarm,
        reactions={
            name: Reaction(
                name, r.when.alarm, r.when.after_s, r.do.output, r.do.action, r.per_day, r.unless, r.undo or ""
            )
            for name, r in file.reaction.items()
        },
        clock=file.clock,
        uplink=file.uplink,
        store=file.store,
        test=file.test,
        page=file.page,
        tls=file.tls,
        queues=file.queue,
        services=file.service,
        windows=file.window,
        facilities=file.facility,
        detectors={f"{c.model} on {c.sensor}": Model(c.model, c.sensor) for c in conditions if c.model},
    )

"""What the doctor tries itself on a box where no gateway runs: ports, pins, folder, database, clock, broker.

Nothing is driven, nothing is acknowledged, nothing is written: an output keeps its level and a node its readings.
"""

import fcntl
import json
import os
import select
import shutil
import socket
import sqlite3
import ssl
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from drivers.contacts import Contact
from drivers.kiosk_line import KioskLink
from drivers.node_link import NodeLink
from drivers.pins import DigitalIn, open_pins
from drivers.reading import DriverError
from drivers.serial_line import SerialLine
from drivers.stranger import KIOSK, NODE, TAIL_BYTES, who
from gateway import build_lines
from gateway.clock import SystemClock
from gateway.config import Bus, Sensor, Site, Tls, Uplink, resolve_port
from gateway.doctor_checks import judge_clock, judge_disk, judge_overheard, judge_value, no_hello
from gateway.doctor_finding import FAIL, OK, WARN, BusFacts, Finding, fault, found
from gateway.doctor_modbus import judge_line, judge_units
from gateway.home import DATABASE, OWNER
from gateway.listen_port import Ear, ear_facts
from gateway.ports import wrong_device
from gateway.schema import SCHEMA_VERSION
from gateway.words import Words

HELLO_WAIT_S = 3.0
CONNECT_WAIT_S = 5.0
CHECK_WAIT_S = 30.0
_TURN_S = 0.1
_READ_BYTES = 4096
_GPIO = "gpio"
_STEPS = 100_000  # of SQLite's machine between two looks at the clock

Mono = Callable[[], float]


def holder(folder: Path) -> str | None:
    """The pid of the process that holds the state folder ("?" when it left none), None when nobody does.

    Shared and given back at once: only a gateway that starts in that very moment would be turned away.
    """
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(lock, 32, 0).decode(errors="replace").strip() or "?"
    finally:
        os.close(lock)
    return None


def closed(
    site: Site, folder: Path, links: Path | None, broker: str | None, clock: SystemClock, say: Words
) -> Iterator[Finding]:
    """All lines of a box where no gateway runs. links, broker: as for `linli run`."""
    yield found(say, say("name.gateway"), WARN, "gateway.none", folder=folder)
    yield from try_buses(site, links, clock.mono_s, say)
    for bus in site.buses.values():
        if bus.kind == "modbus":
            yield from try_modbus(site, bus, links, clock.mono_s, say)
    yield from _sensors(site, links, clock.mono_s, say)
    yield try_folder(folder, say)
    yield from _disk(site, folder, say)
    yield try_database(folder / DATABASE, site.id, clock.mono_s, say)
    belief = clock.belief()
    yield judge_clock(belief.clock, belief.err_s, say)
    yield try_broker(_with(site.uplink, broker), site.tls, site, say)


# -- buses ---------------------------------------------------------------------------------------------------------


def try_buses(site: Site, links: Path | None, mono_s: Mono, say: Words) -> Iterator[Finding]:
    """All lines but Modbus at once, for up to 3 s: does a device say HELLO when asked, is anything overheard?"""
    buses = [bus for bus in site.buses.values() if bus.kind != "modbus"]
    findings: dict[str, Finding] = {}
    lines: dict[str, SerialLine] = {}
    for bus in buses:
        line = _opened(bus, links, mono_s, say)
        if isinstance(line, Finding):
            findings[bus.name] = line
        else:
            lines[bus.name] = line
    try:
        _listen(site, buses, lines, findings, mono_s, say)
    finally:
        for line in lines.values():
            line.close()
    yield from (findings[bus.name] for bus in buses)


def _opened(bus: Bus, links: Path | None, mono_s: Mono, say: Words) -> SerialLine | Finding:
    """Its port, open; or why it is not."""
    try:
        path = links / bus.name if links else resolve_port(bus.port, None)
    except DriverError as error:
        return fault(say, bus.name, str(error))
    if links and not path.exists():
        return found(say, bus.name, FAIL, "bus.nolink", path=path)
    line = SerialLine(lambda: path, bus.line, mono_s)
    return line if line.open() else fault(say, bus.name, line.error)


def _listen(
    site: Site, buses: list[Bus], lines: dict[str, SerialLine], findings: dict[str, Finding], mono_s: Mono, say: Words
) -> None:
    began_s = mono_s()
    tried = [bus for bus in buses if bus.name not in findings]
    wanted = build_lines.node_points(site)
    ears = {bus.name: build_lines.ear(site, bus, mono_s) for bus in tried if bus.is_overheard}
    links = {
        bus.name: NodeLink(bus.name, mono_s, wanted=wanted) if bus.kind == "node" else KioskLink(bus.name, mono_s)
        for bus in tried
        if not bus.is_overheard
    }
    both: dict[str, NodeLink | KioskLink | Ear] = {**links, **ears}
    tails = dict.fromkeys(both, b"")
    while (waiting := [name for name in both if name not in findings]) and mono_s() - began_s < HELLO_WAIT_S:
        for name in (name for name in waiting if name in links):
            links[name].tick()
            if ask := links[name].outgoing():  # before its HELLO that is only: who are you?
                lines[name].write(ask)
        readable, _, _ = select.select([lines[n].fd for n in waiting if lines[n].fd >= 0], [], [], _TURN_S)
        for name in waiting:
            if lines[name].fd < 0 or (lines[name].fd in readable and not _heard(lines[name], both[name], tails)):
                findings[name] = fault(say, name, lines[name].error)
            elif name in ears:
                ears[name].tick()
            elif links[name].error:
                findings[name] = fault(say, name, links[name].error)
            elif links[name].hello:
                link, took = links[name], say.span(mono_s() - began_s)
                findings[name] = found(say, name, OK, "bus.hello", boot=link.boot, ring=link.ring, silent=took)
    for bus in (bus for bus in tried if bus.name not in findings):
        name = bus.name
        if name in ears:
            findings[name] = judge_overheard(bus, msgspec.convert(ear_facts(ears[name], mono_s()), BusFacts), say)
        else:
            wrong = wrong_device(name, who(tails[name]), NODE if bus.kind == "node" else KIOSK)
            silent = no_hello(name, links[name].frames_good, links[name].frames_bad, say)
            findings[name] = fault(say, name, wrong) if wrong else silent


def _heard(line: SerialLine, link: NodeLink | KioskLink | Ear, tails: dict[str, bytes]) -> bool:
    """False when the line was lost. tails: {bus: the last that came}."""
    data = line.read(_READ_BYTES)
    if data is None:
        return False
    link.feed(data)
    tails[link.source] = (tails[link.source] + data)[-TAIL_BYTES:]
    return True


def try_modbus(site: Site, bus: Bus, links: Path | None, mono_s: Mono, say: Words) -> Iterator[Finding]:
    """Reads every unit of the line for up to 3 s, and writes nothing."""
    from drivers.modbus import Master, Timing  # pymodbus is imported for nobody who has no such line
    from gateway.modbus_port import line_facts

    line = _opened(bus, links, mono_s, say)
    if isinstance(line, Finding):
        yield line
        return
    devices = [device for device in site.devices.values() if device.bus == bus.name]
    units = [unit for unit in build_lines.units(site).values() if unit.name in {device.name for device in devices}]
    master = Master(units, Timing.of(bus.line, bus.timeout_ms, bus.gap_ms), mono_s())
    until_s = mono_s() + HELLO_WAIT_S
    while line.fd >= 0 and mono_s() < until_s:
        master.tick(mono_s())
        if frame := master.next(mono_s()):
            line.write(frame)
        wait_s = max(0.0, min(master.due_s(mono_s()), until_s) - mono_s())
        if line.fd >= 0 and select.select([line.fd], [], [], min(wait_s, _TURN_S))[0]:
            master.feed(line.read(_READ_BYTES) or b"", mono_s())
    facts = line_facts(master, mono_s()) | {"open": line.fd >= 0, "error": line.error}
    line.close()
    bus_facts = msgspec.convert(facts, BusFacts)
    yield judge_line(bus, bus_facts, say)
    yield from judge_units(devices, bus_facts, say)


# -- sensors -------------------------------------------------------------------------------------------------------


def _sensors(site: Site, links: Path | None, mono_s: Mono, say: Words) -> Iterator[Finding]:
    on_pins = [sensor for sensor in site.sensors.values() if sensor.source == _GPIO]
    if unseen := len(site.sensors) - len(on_pins):
        yield found(say, say("name.sensors"), WARN, "sensors.unseen", count=unseen)
    if on_pins:
        yield from try_pins(on_pins, links / "pins.sock" if links else None, mono_s, say)


def try_pins(sensors: list[Sensor], pins_socket: Path | None, mono_s: Mono, say: Words) -> Iterator[Finding]:
    """Reads each input once; a simulated pin is waited for up to 3 s."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gpiozero tells of each library that is not here
            pins = open_pins(pins_socket, mono_s)
        inputs = {sensor.id: pins.input(int(sensor.point.partition(":")[2])) for sensor in sensors}
    except Exception as error:  # noqa: BLE001  # each GPIO library has errors of its own, e.g. for a pin in use
        yield fault(say, say("name.pins"), str(error))
        return
    until_s = mono_s() + HELLO_WAIT_S
    while not all(pin.known for pin in inputs.values()) and mono_s() < until_s:
        select.select([], [], [], _TURN_S)
    for sensor in sensors:
        yield _pin(sensor, inputs[sensor.id], pins_socket, mono_s, say)
        inputs[sensor.id].close()


def _pin(sensor: Sensor, pin: DigitalIn, pins_socket: Path | None, mono_s: Mono, say: Words) -> Finding:
    if not pin.known:
        return found(say, sensor.id, FAIL, "pins.unheard", socket=pins_socket)
    contact = Contact(sensor.point, sensor.wiring)
    contact.level(pin.level, mono_s())
    value = contact.tick(mono_s())[0].value
    shown = say.value(sensor.kind, value)
    ok = found(say, sensor.id, OK, "sensor.level", value=shown, point=sensor.point)
    return judge_value(sensor, value, say) or ok


# -- folder, disk, database ------------------------------------------------------------------------------------------


def try_folder(folder: Path, say: Words) -> Finding:
    name = say("name.state")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return found(say, name, FAIL, "state.not_folder", folder=there)
    if not os.access(there, os.W_OK | os.X_OK) or os.statvfs(there).f_flag & os.ST_RDONLY:
        return found(say, name, FAIL, "state.locked", folder=there)
    return found(say, name, OK, "state.well" if there == folder else "state.new", folder=folder)


def _disk(site: Site, folder: Path, say: Words) -> Iterator[Finding]:
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    size_b = sum(path.stat().st_size for path in (folder / DATABASE, folder / f"{DATABASE}-wal") if path.exists())
    yield judge_disk(shutil.disk_usage(there).free / 2**20, size_b / 2**20, site.store.budget_mb, say)


def try_database(path: Path, owner: str, mono_s: Mono, say: Words) -> Finding:
    """Version, quick_check, and that it is the centre's own; read only, at most 30 s."""
    name = say("name.database")
    if not path.exists():
        return found(say, name, OK, "database.none")
    until_s = mono_s() + CHECK_WAIT_S
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            db.set_progress_handler(lambda: mono_s() > until_s, _STEPS)
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            checked = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            row = db.execute("SELECT value FROM keep WHERE key = ?", (OWNER,)).fetchone() if version else None
            holds = json.loads(row[0]) if row else owner
        finally:
            db.close()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_INTERRUPT":
            return found(say, name, WARN, "database.slow", span=say.span(CHECK_WAIT_S))
        return found(say, name, FAIL, "database.unreadable", why=error)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter quotes a name that is none any more
        return found(say, name, FAIL, "database.broken", why=error)
    if checked != "ok":
        return found(say, name, FAIL, "database.broken", why=checked.strip().splitlines()[-1])
    if holds != owner:
        return found(say, name, FAIL, "database.other", found=holds, expected=owner)
    if version > SCHEMA_VERSION:
        return found(say, name, FAIL, "database.newer", found=version, expected=SCHEMA_VERSION)
    if version < SCHEMA_VERSION:
        return found(say, name, WARN, "database.old", found=version, expected=SCHEMA_VERSION)
    return found(say, name, OK, "database.well", version=version, size=say.size(path.stat().st_size))


# -- broker ------------------------------------------------------------------------------------------------------------


def _with(uplink: Uplink, broker: str | None) -> Uplink:
    return Uplink(broker=broker) if broker else uplink


def try_broker(uplink: Uplink, tls: Tls | None, site: Site, say: Words) -> Finding:
    """By TCP, and by TLS with the name checked when it is mqtts; logs nobody in."""
    name, at = say("name.broker"), {"host": uplink.host, "port": uplink.port}
    try:
        context = _context(tls, site) if uplink.tls else None
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        return found(say, name, FAIL, "broker.files", why=error)
    try:
        with socket.create_connection((uplink.host, uplink.port), timeout=CONNECT_WAIT_S) as channel:
            if context is None:
                return found(say, name, OK, "broker.well", **at)
            with context.wrap_socket(channel, server_hostname=uplink.host) as secured:
                return found(say, name, OK, "broker.well_tls", version=secured.version(), **at)
    except OSError as error:
        return found(say, name, FAIL, _why_no_broker(error), why=error.strerror or error, **at)


def _context(tls: Tls | None, site: Site) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(site.file(tls.ca)) if tls else None)
    if tls and tls.profile == "tls1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if tls and tls.cert:
        key = str(site.file(tls.key)) if tls.key else None
        context.load_cert_chain(str(site.file(tls.cert)), key, password="")  # never asks on the terminal
    return context


_CERT_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_CERT_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def _why_no_broker(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _CERT_TIME:
            return "broker.time"
        return "broker.name" if error.verify_code in _CERT_NAME else "broker.untrusted"
    if isinstance(error, ConnectionRefusedError):
        return "broker.refused"
    if isinstance(error, TimeoutError):
        return "broker.timeout"
    if isinstance(error, socket.gaierror):
        return "broker.nohost"
    return "broker.tls" if isinstance(error, ssl.SSLError | ConnectionResetError) else "broker.unreachable"

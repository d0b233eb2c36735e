"""`linli provision install` and `remove`: the gateway as a service on Debian or Raspberry Pi OS, and away again."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.config import Site
from gateway.site_tables import Bus
from provisioning.program import HOME
from provisioning.steps import (
    CHANGED,
    NEW,
    SAME,
    USER,
    Enabled,
    File,
    Folder,
    Gone,
    InstallError,
    Machine,
    Private,
    Step,
    Symlink,
    User,
    take_away,
)

UNIT, PAGE_UNIT = "linli.service", "linli-page.service"
STATE, ETC = "/var/lib/linli", "/etc/linli"
SITE = f"{ETC}/site.toml"
USERS, RULES = "/etc/sysusers.d/linli.conf", "/etc/udev/rules.d/70-linli.rules"
JOURNAL = "/etc/systemd/journald.conf.d/linli.conf"
KERNEL = "/etc/sysctl.d/60-linli.conf"
COMMAND = "/usr/local/bin/linli"
UNTOLD = "/run/linli.untold"
"""What was changed since systemd and udev were last told. A restart of the machine tells them, and clears it."""
_HERE = Path(__file__).parent
_SOCKET = re.compile(r"usb:([0-9]+-[0-9.]+)")


def unfit(machine: Machine) -> Iterator[str]:
    """What this machine lacks, each a sentence."""
    release = next((p for p in ("/etc/os-release", "/usr/lib/os-release") if machine.at(p).is_file()), None)
    text = machine.at(release).read_text(errors="replace") if release else ""
    likes = re.findall(r'^(?:ID|ID_LIKE)="?([^"\n]*)', text, re.MULTILINE)
    if "debian" not in " ".join(likes).split() and "raspbian" not in likes:
        yield f"{machine.root}: found {likes or 'no os-release'}, expected Debian or Raspberry Pi OS; see --root"
    if not any(machine.at(path).exists() for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")):
        yield f"{machine.root}: found no systemd, expected one; apt-get install systemd there"


def plan(machine: Machine, site: Site, program: Step) -> list[Step]:
    """Every step, in the order they are done. Raises InstallError for a box that another centre's data is on."""
    _no_other_centre(machine, site)
    return [
        File(USERS, (_HERE / "linli.sysusers").read_bytes()),
        User(USERS, ("dialout", "gpio")),
        Folder(ETC, 0o750, group=USER),
        Folder(STATE, 0o700, USER, USER),
        *_credentials(site),
        File(SITE, site.path.read_bytes(), 0o640, group=USER),
        File(RULES, rules(site).encode()),
        File(JOURNAL, (_HERE / "journald.conf").read_bytes()),
        File(KERNEL, (_HERE / "sysctl.conf").read_bytes()),
        program,
        Symlink(COMMAND, f"{HOME}/bin/linli"),
        File(_unit(UNIT), (_HERE / UNIT).read_bytes()),
        Enabled(UNIT),
        *_page(machine, site),
        *([Told((UNIT, PAGE_UNIT) if site.page else (UNIT,))] if machine.live else []),
    ]


def _unit(unit: str) -> str:
    return f"/etc/systemd/system/{unit}"


def _page(machine: Machine, site: Site) -> Iterator[Step]:
    """The page is a service of its own, and goes again when the site file no longer has one."""
    unit = _unit(PAGE_UNIT)
    if site.page:
        yield File(unit, (_HERE / PAGE_UNIT).read_bytes())
        yield Enabled(PAGE_UNIT)
    elif machine.at(unit).exists():
        yield from ([Stopped(PAGE_UNIT)] if machine.live else [])
        yield Gone(Enabled(PAGE_UNIT).path)
        yield Gone(unit)


def _no_other_centre(machine: Machine, site: Site) -> None:
    """The data of one centre must never reach the city under the name of another."""
    here = machine.at(SITE)
    if not here.is_file():
        return
    found = installed_id(machine)
    if found != site.id:
        raise InstallError(
            f"{here}: found the site {found or '(unreadable)'}, expected {site.id}: its data are another centre's; "
            "see that it is the right box, or clear it first with linli provision remove --purge"
        )


def installed_id(machine: Machine) -> str:
    """The id of the site that is installed there, "" for none that can be read."""
    try:
        return str(tomllib.loads(machine.at(SITE).read_text(encoding="utf-8"))["site"]["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _credentials(site: Site) -> Iterator[Step]:
    """Files that the site file names: those beside it are copied, those in the state folder only made private."""
    for reference, mode, owner in _files(site):
        name = reference.removeprefix("file:")
        if name.startswith("/"):
            if name.startswith(f"{STATE}/"):  # elsewhere it is not ours: the system's certificates, say
                yield Private(name)
        elif site.file(reference).is_file():
            yield File(f"{ETC}/{name}", site.file(reference).read_bytes(), mode, owner, USER)


def _files(site: Site) -> Iterator[tuple[str, int, str]]:
    """(reference, mode, owner) of each; a key is the service's alone."""
    if site.tls:
        yield site.tls.ca, 0o640, "root"
    for each in (site.tls, site.page):
        if each and each.cert and each.key:
            yield each.cert, 0o640, "root"
            yield each.key, 0o600, USER


def missing(machine: Machine, site: Site) -> list[str]:
    """Files that `tls` and `page` name and that will not be there when the services start."""
    names = [reference for reference, _, _ in _files(site)]
    paths = {name: name.removeprefix("file:") for name in names}
    return [
        path if path.startswith("/") else f"{ETC}/{path}"
        for name, path in paths.items()
        if not machine.at(path if path.startswith("/") else f"{ETC}/{path}").is_file()
        and (path.startswith("/") or not site.file(name).is_file())
    ]


def rules(site: Site) -> str:
    """udev's rules: who may use what, and /dev/linli/<bus> for each line by the socket it is plugged into."""
    lines = [rule for bus in site.buses.values() if (rule := _rule(bus))]
    return (_HERE / "linli.rules").read_text() + "".join(lines)


def _rule(bus: Bus) -> str:
    if match := _SOCKET.fullmatch(bus.port):
        return f'SUBSYSTEM=="tty", KERNELS=="{match[1]}:1.0", SYMLINK+="linli/{bus.name}"\n'
    if match := re.fullmatch("/dev/(tty[A-Za-z0-9]+)", bus.port):
        return f'SUBSYSTEM=="tty", KERNEL=="{match[1]}", SYMLINK+="linli/{bus.name}"\n'
    return ""


class Stopped(NamedTuple):
    """A service that is not wanted any more runs no longer."""

    unit: str

    @property
    def path(self) -> str:
        return f"systemctl: {self.unit}"

    def state(self, machine: Machine) -> str:
        return CHANGED if machine.at(_unit(self.unit)).exists() else SAME

    def do(self, machine: Machine) -> None:
        machine.run(["systemctl", "disable", "--now", self.unit])


class Told(NamedTuple):
    """This machine's systemd and udev know of every change, and the services run with it.

    What is still to be told stands in UNTOLD, so that an installation that was cut short is ended by the next one.
    """

    units: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"systemctl: {' '.join(self.units)}"

    def state(self, machine: Machine) -> str:
        if machine.at(UNTOLD).exists():
            return CHANGED
        try:
            for unit in self.units:
                machine.run(["systemctl", "is-active", "--quiet", unit])
        except InstallError:
            return NEW
        return SAME

    def do(self, machine: Machine) -> None:
        note = machine.at(UNTOLD)
        changed = note.read_text().splitlines() if note.exists() else []
        machine.run(["systemctl", "daemon-reload"])
        if RULES in changed:
            machine.run(["udevadm", "control", "--reload"])
            machine.run(["udevadm", "trigger", "--subsystem-match=tty", "--subsystem-match=gpio"])
        if JOURNAL in changed:
            machine.run(["systemctl", "restart", "systemd-journald"])
        if KERNEL in changed:
            machine.run(["systemctl", "restart", "systemd-sysctl"])
        for unit in self.units:
            machine.run(["systemctl", "restart", unit])
        note.unlink(missing_ok=True)


def install(machine: Machine, steps: list[Step], dry: bool) -> Iterator[tuple[str, str]]:
    """(state, path) of each step, done unless `dry`."""
    for step in steps:
        state = step.state(machine)
        if state != SAME and not dry:
            if machine.live and not isinstance(step, Told):
                _note(machine, step.path)
            step.do(machine)
        yield state, step.path


def _note(machine: Machine, path: str) -> None:
    here = machine.at(UNTOLD)
    here.parent.mkdir(parents=True, exist_ok=True)
    with open(here, "a") as note:
        note.write(f"{path}\n")


def remove(machine: Machine, purge: bool, dry: bool) -> Iterator[str]:
    """Each path that was taken away. The user stays: files elsewhere may be its own."""
    for service in (Stopped(PAGE_UNIT), Stopped(UNIT)):
        if machine.live and not dry and service.state(machine) != SAME:
            service.do(machine)
    units = [path for unit in (PAGE_UNIT, UNIT) for path in (Enabled(unit).path, _unit(unit))]
    paths = [
        *units, COMMAND, HOME, f"{HOME}-new", f"{HOME}-old", JOURNAL, KERNEL, RULES, USERS, UNTOLD,
        *((ETC, STATE) if purge else ()),
    ]  # fmt: skip
    there = [path for path in paths if machine.at(path).is_symlink() or machine.at(path).exists()]
    for path in there:
        if not dry:
            take_away(machine, path)
        yield path
    if machine.live and not dry and there:
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["udevadm", "control", "--reload"])

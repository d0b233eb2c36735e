"""The program on a box: an environment of its own in /opt/linli, with the locked requirements and Linli's wheel.

It is made as `python -m venv` makes one, but by hand: so it can be made in another root folder, and swapped in whole.
"""

import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from provisioning.steps import CHANGED, NEW, SAME, InstallError, Machine

HOME = "/opt/linli"
CHECKOUT = Path(__file__).parent.parent
_STAMP = "linli.stamp"
_PINS = "lgpio.py"
_START = "#!{home}/bin/python3 -I\nimport sys\n\nfrom gateway.cli import main\n\nsys.exit(main())\n"


class Source(NamedTuple):
    """wheel: Linli's own. lock: its requirements, pinned by hash. wheels: where they lie; None: wherever pip looks."""

    wheel: Path
    lock: Path
    wheels: Path | None


def source(program: Path, wheels: Path | None, into: Path, machine: Machine) -> Source:
    """program: a checkout, whose wheel is built into the folder `into`, or a wheel with run.lock beside it."""
    if program.suffix == ".whl":
        wheel, lock = program, program.with_name("run.lock")
    else:
        wheel, lock = into, program / "requirements/run.lock"
    for needed in (wheel, lock, *([] if wheels is None else [wheels])):
        if not needed.exists():
            raise InstallError(
                f"{needed}: found nothing, expected Linli's checkout, or its wheel with run.lock beside; see --program"
            )
    if wheel is into:
        build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(program)]
        machine.run([*_PIP, *build])
        (wheel,) = into.glob("linli-*.whl")
    return Source(wheel, lock, wheels)


_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def python_of(machine: Machine) -> str:
    """ "3.11": the Python of that machine. Raises InstallError when there is none that fits.

    Its version must be that of the Python this runs under, which chooses the packages.
    """
    found = [
        re.fullmatch(r"python(3\.\d+)", path.name) for path in machine.at("/usr/bin/python3").parent.glob("python3.*")
    ]
    versions = sorted((match[1] for match in found if match), key=lambda text: int(text[2:]))
    ours = f"3.{sys.version_info.minor}"
    if ours not in versions:
        there = ", ".join(versions) or "no Python"
        raise InstallError(
            f"{machine.root}: found {there} in its /usr/bin, expected {ours}, which runs this command; "
            f"install python{ours} there, or run this with its Python (PYTHON=/usr/bin/python3 ./dev linli …)"
        )
    return ours


class Program(NamedTuple):
    source: Source
    python: str

    @property
    def path(self) -> str:
        return HOME

    def state(self, machine: Machine) -> str:
        here = machine.at(HOME)
        if not here.exists():
            return NEW
        try:
            return SAME if (here / _STAMP).read_text() == self._stamp() else CHANGED
        except OSError:
            return CHANGED

    def do(self, machine: Machine) -> None:
        """Beside the old one, then in its place. A power cut between the two renames is mended by doing it again."""
        new, old = machine.at(f"{HOME}-new"), machine.at(f"{HOME}-old")
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        self._build(new, machine)
        here = machine.at(HOME)
        if here.exists():
            here.rename(old)
        new.rename(here)
        shutil.rmtree(old, ignore_errors=True)

    def _build(self, new: Path, machine: Machine) -> None:
        packages = new / f"lib/python{self.python}/site-packages"
        for folder in (packages, new / "bin"):
            folder.mkdir(parents=True)
        (new / "bin" / f"python{self.python}").symlink_to(f"/usr/bin/python{self.python}")
        (new / "bin/python3").symlink_to(f"python{self.python}")
        where = [] if self.source.wheels is None else ["--no-index", "--find-links", str(self.source.wheels)]
        install = [*_PIP, "install", "--quiet", "--no-compile", "--no-warn-script-location", "--target", str(packages)]
        machine.run([*install, *where, "--require-hashes", "-r", str(self.source.lock)])
        machine.run([*install, "--no-index", "--no-deps", "--upgrade", str(self.source.wheel)])
        # Where lgpio has no wheel (pyproject.toml says where it has), the distribution's python3-lgpio serves.
        system = "false" if (packages / _PINS).is_file() else "true"
        (new / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = {system}\n")
        shutil.rmtree(packages / "bin", ignore_errors=True)  # scripts that name the Python which ran pip
        home = f"{HOME}/{packages.relative_to(new)}"
        machine.run([sys.executable, "-m", "compileall", "-q", "-s", str(packages), "-p", home, str(packages)])
        start = new / "bin/linli"
        start.write_text(_START.format(home=HOME))
        start.chmod(0o755)
        (new / _STAMP).write_text(self._stamp())

    def _stamp(self) -> str:
        parts = [self.source.wheel.read_bytes(), self.source.lock.read_bytes()]
        return "\n".join([self.python, *(hashlib.sha256(part).hexdigest() for part in parts), ""])


def has_pins(machine: Machine, python: str) -> bool:
    """Whether the installed program finds the library for GPIO pins, its own or the distribution's."""
    places = (f"{HOME}/lib/python{python}/site-packages", "/usr/lib/python3/dist-packages")
    return any(machine.at(f"{place}/{_PINS}").is_file() for place in places)


def folder_for_wheels() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="linli-wheel-")

"""The whole way in a real Debian: made by debootstrap, installed into, tried from inside, taken away again.

On demand, because it fetches a Debian: LINLI_DEBIAN=1 makes one (apt-get install debootstrap), from wherever this
machine's apt gets its packages; LINLI_DEBIAN=DIR takes a root folder that is there, and changes it.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from gateway import cli
from provisioning.install import RULES, UNIT

WANTED = os.environ.get("LINLI_DEBIAN", "")
SITE = """
schema = 1
site = { id = "centre", gateway = "centre-a", name = "Centre", lang = "en" }
bus.n1 = { kind = "node", port = "usb:1-1.2" }
uplink = { broker = "mqtt://127.0.0.1:1883" }
"""
PACKAGES = "systemd,systemd-sysv,udev,python3,python3-venv"

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not WANTED, reason="on demand: LINLI_DEBIAN=1 makes a Debian, LINLI_DEBIAN=DIR takes one"),
]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if WANTED != "1":
        return Path(WANTED)
    folder = tmp_path_factory.mktemp("debian")
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release["VERSION_CODENAME"]
    ask = ["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"]
    targets = [line.split() for line in subprocess.check_output(ask, text=True).splitlines()]
    mirror = next(site for suite, site in targets if suite == codename)
    make = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", codename, str(folder), mirror]
    subprocess.run(make, check=True, timeout=1200, stdout=subprocess.DEVNULL)
    folder.chmod(0o755)  # it is that machine's /
    return folder


def inside(debian: Path, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """A command in that root, with a /proc of its own; nothing of it outlives the call."""
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={debian}/proc"]
    clean = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG": "C.UTF-8"}
    whole = [*apart, "chroot", str(debian), *command]
    return subprocess.run(whole, capture_output=True, text=True, timeout=timeout_s, env=clean)


def complaints_of_udev(debian: Path) -> list[str]:
    """What it says of our rules when it reads them all."""
    test = "mount -t sysfs sys /sys && udevadm test --action=add /sys/class/tty/tty0 2>&1"
    told = inside(debian, "sh", "-c", test).stdout
    assert "Reading rules file: " + RULES in told, told
    return [line for line in told.splitlines() if line.startswith(RULES)]


def test_a_clean_debian_becomes_a_gateway_and_a_clean_debian_again(debian, tmp_path, capsys):
    site = tmp_path / "site.toml"
    site.write_text(SITE)
    command = ["provision", "install", str(site), "--root", str(debian)]
    assert cli.main(command) == 0

    shown = inside(debian, "linli", "check", "/etc/linli/site.toml")
    assert "OK, centre-a" in shown.stdout, shown.stderr
    verified = inside(debian, "systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{UNIT}")
    about_us = [line for line in verified.stderr.splitlines() if "linli" in line]
    assert (verified.returncode, about_us) == (0, [])
    judged = inside(debian, "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", UNIT)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert inside(debian, "systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    assert inside(debian, "id", "-nG", "linli").stdout.split() == ["linli", "dialout", "gpio"]
    assert complaints_of_udev(debian) == []
    with open(debian / RULES.lstrip("/"), "a") as rules:
        rules.write('NO_SUCH_KEY=="x", MODE="0660"\n')
    assert complaints_of_udev(debian) != [], "it is seen when a rule is wrong"
    assert cli.main(command) == 0

    capsys.readouterr()
    assert cli.main(command) == 0
    assert "nothing changed" in capsys.readouterr().out

    # No GPIO in here: gpiozero's mock stands in for the pins, of which this site has none.
    run = "linli run /etc/linli/site.toml --state /var/lib/linli"
    alone = f"cd /; umask 077; timeout 10 runuser -u linli -- env GPIOZERO_PIN_FACTORY=mock {run}"
    ran = inside(debian, "sh", "-c", f"{alone}; stat -c '%a %U' /var/lib/linli/linli.db")
    assert re.search("running: centre-a.*stopped\n", ran.stderr, re.DOTALL), ran.stderr
    assert ran.stdout == "600 linli\n"

    assert cli.main(["provision", "remove", "--root", str(debian)]) == 0
    assert (debian / "var/lib/linli/linli.db").is_file()
    assert not (debian / "opt/linli").exists()
    assert inside(debian, "systemctl", "is-enabled", UNIT).returncode != 0
    assert cli.main(["provision", "remove", "--root", str(debian), "--purge", "centre"]) == 0
    assert not (debian / "var/lib/linli").exists()

"""`linli provision install` and `remove` on a root folder that looks like a machine: all of it, once, and off again."""

import base64
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway import cli
from gateway.config import load
from provisioning.install import PAGE_UNIT, RULES, UNIT, install, plan, remove, rules
from provisioning.program import Program, Source, python_of, source
from provisioning.steps import Folder, InstallError, Machine

ROOT = Path(__file__).parent.parent
PYTHON = f"3.{sys.version_info.minor}"
SITE = """
schema = 1
site = { id = "centre", gateway = "centre-a", name = "Centre", lang = "en" }
bus.n1 = { kind = "node", port = "usb:1-1.2" }
bus.k1 = { kind = "kiosk-line", port = "/dev/ttyAMA0" }
uplink = { broker = "mqtts://192.0.2.1" }
tls = { ca = "file:city-ca.pem", key = "file:/var/lib/linli/id.key", cert = "file:/var/lib/linli/id.pem" }
"""
pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _systemd() -> None:
    for tool in ("systemctl", "systemd-sysusers"):
        if shutil.which(tool) is None:
            advice = "needs systemd's tools: apt-get install -y systemd"
            pytest.fail(advice) if os.environ.get("CI") == "true" else pytest.skip(advice)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A root folder with what `install` looks for."""
    folder = tmp_path / "box"
    for path, text in {
        "etc/os-release": 'ID=raspbian\nID_LIKE="debian"\n',
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
        "etc/group": "root:x:0:\ndialout:x:20:\n",
        f"usr/bin/python{PYTHON}": "",
        "usr/lib/systemd/systemd": "",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    (tmp_path / "city-ca.pem").write_text("certificate")
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that install the real wheel, with one small package for all its requirements, from a folder."""
    folder = tmp_path_factory.mktemp("wheels")
    source(ROOT, None, folder, Machine(folder))
    digest = _tiny_wheel(folder / "tiny-1.0-py3-none-any.whl")
    (folder / "run.lock").write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n")
    (wheel,) = folder.glob("linli-*.whl")
    return ["--program", str(wheel), "--wheels", str(folder)]


def _tiny_wheel(path: Path) -> str:
    """Its SHA-256."""
    about = "tiny-1.0.dist-info"
    inside = {
        "tiny.py": "here = True\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: linli\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in inside.items():
            wheel.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        wheel.writestr(f"{about}/RECORD", f"{record}{about}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def provision(*arguments: str | Path) -> int:
    return cli.main(["provision", *map(str, arguments)])


def owned(box: Path, path: str) -> tuple[str, str, str]:
    """(mode, user, group) by the root folder's own lists."""
    found = (box / path).stat()
    names = [
        {line.split(":")[2]: line.split(":")[0] for line in (box / "etc" / which).read_text().splitlines()}
        for which in ("passwd", "group")
    ]
    return oct(stat.S_IMODE(found.st_mode)), names[0][str(found.st_uid)], names[1][str(found.st_gid)]


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a folder, by inode, mode, owner and time."""
    return {
        str(path.relative_to(folder)): ((s := path.lstat()).st_ino, s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_an_installed_box_has_all_of_it_and_a_second_run_changes_nothing(box, site, small, capsys):
    assert provision("install", site, "--root", box, *small) == 0
    told = capsys.readouterr().out
    assert "/var/lib/linli/id.key is still missing" in told
    assert "apt-get install python3-lgpio" in told
    assert "include-system-site-packages = true" in (box / "opt/linli/pyvenv.cfg").read_text()
    assert owned(box, "var/lib/linli") == ("0o700", "linli", "linli")
    assert owned(box, "etc/linli") == ("0o750", "root", "linli")
    assert owned(box, "etc/linli/site.toml") == ("0o640", "root", "linli")
    assert owned(box, "etc/linli/city-ca.pem") == ("0o640", "root", "linli")
    groups = dict(re.findall(r"^(\w+):x:\d+:(.*)$", (box / "etc/group").read_text(), re.M))
    assert (groups["dialout"], groups["gpio"]) == ("linli", "linli")
    wants = box / "etc/systemd/system/multi-user.target.wants" / UNIT
    assert os.readlink(wants).endswith(f"/etc/systemd/system/{UNIT}")
    assert (box / "etc/systemd/system" / UNIT).read_bytes() == (ROOT / "provisioning" / UNIT).read_bytes()
    packages = box / f"opt/linli/lib/python{PYTHON}/site-packages"
    assert (packages / "tiny.py").is_file()
    assert (packages / "gateway/pipeline.py").is_file()
    assert (box / "opt/linli/bin/linli").read_text().startswith("#!/opt/linli/bin/python3 -I\n")
    assert str(box).encode() not in (packages / f"__pycache__/tiny.cpython-{PYTHON.replace('.', '')}.pyc").read_bytes()

    before = snapshot(box)
    assert provision("install", site, "--root", box, *small) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert snapshot(box) == before


def test_a_dry_run_says_all_and_changes_nothing(box, site, small, capsys):
    before = snapshot(box)
    assert provision("install", site, "--root", box, "--dry-run", *small) == 0
    told = capsys.readouterr().out
    assert "12 would change; nothing was changed" not in told  # one more: the city's certificate
    assert "13 would change; nothing was changed" in told
    assert re.search(r"^new +/opt/linli$", told, re.M)
    assert snapshot(box) == before


def test_what_somebody_has_changed_is_put_right_alone(box, site, small, capsys):
    provision("install", site, "--root", box, *small)
    (box / "var/lib/linli/id.key").write_text("secret")
    (box / "var/lib/linli").chmod(0o755)
    (box / "etc/systemd/system" / UNIT).write_text("[Service]\n")
    capsys.readouterr()
    assert provision("install", site, "--root", box, *small) == 0
    changed = re.findall(r"^(?:changed|new) +(.*)$", capsys.readouterr().out, re.M)
    assert changed == ["/var/lib/linli", "/var/lib/linli/id.key", f"/etc/systemd/system/{UNIT}"]
    assert owned(box, "var/lib/linli/id.key") == ("0o600", "linli", "linli")


def test_removal_leaves_the_site_file_and_the_data_and_purging_wants_the_sites_id(box, site, small, capsys):
    before = set(snapshot(box))
    provision("install", site, "--root", box, *small)
    (box / "var/lib/linli/linli.db").write_text("data")
    assert provision("remove", "--root", box, "--lang", "en", "--dry-run") == 0
    assert (box / "opt/linli/bin/linli").exists()
    assert provision("remove", "--root", box, "--lang", "en") == 0
    assert (box / "var/lib/linli/linli.db").read_text() == "data"
    assert (box / "etc/linli/site.toml").exists()
    left = {path for path in snapshot(box) if (box / path).is_file() or (box / path).is_symlink()} - before
    ours = {path for path in left if "shadow" not in path and not path.endswith(("-", ".pwd.lock"))}
    assert ours == {"etc/linli/site.toml", "etc/linli/city-ca.pem", "var/lib/linli/linli.db"}
    capsys.readouterr()

    assert provision("remove", "--root", box, "--lang", "en") == 0
    assert "nothing to take away" in capsys.readouterr().out
    for typed in ("", "centre-a"):
        assert provision("remove", "--root", box, "--lang", "en", "--purge", typed) == 2
        assert "expected that of the site installed here" in capsys.readouterr().err
        assert (box / "var/lib/linli/linli.db").exists()
    assert provision("remove", "--root", box, "--lang", "en", "--purge", "centre") == 0
    assert not (box / "var/lib/linli").exists()
    assert not (box / "etc/linli").exists()


def test_a_box_with_another_centres_data_is_refused(box, site, small, capsys):
    provision("install", site, "--root", box, *small)
    site.write_text(SITE.replace('"centre"', '"another"'))
    before = snapshot(box)
    assert provision("install", site, "--root", box, *small) == 1
    assert "found the site centre, expected another" in capsys.readouterr().err
    assert snapshot(box) == before


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("etc/os-release", "expected Debian or Raspberry Pi OS"),
        ("usr/lib/systemd/systemd", "found no systemd"),
        (f"usr/bin/python{PYTHON}", f"found no Python in its /usr/bin, expected {PYTHON}"),
    ],
)
def test_a_machine_that_is_not_fit_is_refused_before_anything_is_changed(box, site, small, capsys, gone, said):
    (box / gone).unlink()
    before = snapshot(box)
    assert provision("install", site, "--root", box, *small) == 1
    assert said in capsys.readouterr().err
    assert snapshot(box) == before


def test_a_site_file_with_a_mistake_is_not_installed(box, site, small, capsys):
    site.write_text(SITE.replace("schema = 1", "schema = 2"))
    before = snapshot(box)
    assert provision("install", site, "--root", box, *small) == 1
    assert "schema: found 2, expected 1" in capsys.readouterr().err
    assert snapshot(box) == before


def test_a_package_that_is_not_the_locked_one_ends_it_and_the_old_program_stays(box, site, small, capsys, tmp_path):
    provision("install", site, "--root", box, *small)
    other = tmp_path / "wheels"
    shutil.copytree(small[-1], other)
    (other / "run.lock").write_text(f"tiny==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    (wheel,) = other.glob("linli-*.whl")
    before = snapshot(box / "opt/linli")
    assert provision("install", site, "--root", box, "--program", wheel, "--wheels", other) == 1
    assert "DO NOT MATCH" in capsys.readouterr().err
    assert snapshot(box / "opt/linli") == before


def test_a_link_that_leads_out_of_the_root_folder_is_not_followed(box, tmp_path):
    (tmp_path / "outside").mkdir()
    (box / "var").mkdir()
    (box / "var/lib").symlink_to(tmp_path / "outside")
    with pytest.raises(InstallError, match="leads out of"):
        Folder("/var/lib/linli").state(Machine(box))
    (box / "etc/linli").symlink_to(tmp_path / "outside")
    with pytest.raises(InstallError, match="found a link"):
        Folder("/etc/linli").state(Machine(box))
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_certificate_of_the_systems_is_left_as_it_is(box, site, small):
    (box / "etc/ssl").mkdir()
    (box / "etc/ssl/ca.pem").write_text("everybody's")
    (box / "etc/ssl/ca.pem").chmod(0o644)
    site.write_text(SITE.replace("file:city-ca.pem", "file:/etc/ssl/ca.pem"))
    assert provision("install", site, "--root", box, *small) == 0
    assert owned(box, "etc/ssl/ca.pem") == ("0o644", "root", "root")


def test_each_line_gets_a_stable_name_by_its_socket(site):
    text = rules(load(site))
    assert 'SUBSYSTEM=="tty", KERNELS=="1-1.2:1.0", SYMLINK+="linli/n1"\n' in text
    assert 'SUBSYSTEM=="tty", KERNEL=="ttyAMA0", SYMLINK+="linli/k1"\n' in text


class Live:
    """A machine whose systemd is a list of what it was told; everything else is done for real."""

    def __init__(self, box: Path, small: list[str]) -> None:
        self.told: list[str] = []
        self.runs = self.hangs = False
        self.machine = Machine(box, self._run, live=True)
        wheel = Path(small[1])
        self._program = Program(Source(wheel, wheel.with_name("run.lock"), Path(small[3])), python_of(self.machine))

    def _run(self, command) -> None:
        self.told.append(" ".join(command))
        if command[:2] == ["systemctl", "restart"] and command[2] in (UNIT, PAGE_UNIT):
            if self.hangs:
                raise KeyboardInterrupt
            self.runs = True
        elif "is-active" in command and not self.runs:
            raise InstallError("inactive")
        elif command[0] not in ("systemctl", "udevadm") or "enable" in command:
            Machine(self.machine.root).run(command)

    def install(self, site: Path) -> list[str]:
        """What was done, by path."""
        self.told.clear()
        steps = plan(self.machine, load(site), self._program)
        return [path for state, path in install(self.machine, steps, dry=False) if state != "same"]

    @property
    def orders(self) -> list[str]:
        return [line for line in self.told if line.startswith(("systemctl d", "systemctl r", "udevadm"))]


ALL_ORDERS = [
    "systemctl daemon-reload",
    "udevadm control --reload",
    "udevadm trigger --subsystem-match=tty --subsystem-match=gpio",
    "systemctl restart systemd-journald",
    "systemctl restart systemd-sysctl",
    "systemctl restart linli.service",
]


def test_a_machine_that_runs_is_told_what_changed_and_only_then(box, site, small):
    live = Live(box, small)
    live.install(site)
    assert live.orders == ALL_ORDERS
    assert (live.install(site), live.orders) == ([], [])
    live.runs = False
    assert live.install(site) == [f"systemctl: {UNIT}"], "a service that does not run is started"
    live.told.clear()
    assert RULES in list(remove(live.machine, purge=False, dry=False))
    assert live.told == ["systemctl disable --now linli.service", *ALL_ORDERS[:2]]


def test_the_page_is_a_service_of_its_own_and_goes_when_the_site_file_has_none_any_more(box, site, small):
    live = Live(box, small)
    (site.parent / "page.pem").write_text("certificate")
    (site.parent / "page.key").write_text("secret")
    files = 'cert = "file:page.pem", key = "file:page.key"'
    site.write_text(f"{SITE}page = {{ listen = ['eth0'], roles = {{ staff = 'pin' }}, {files} }}\n")
    live.install(site)
    assert live.orders == [*ALL_ORDERS, "systemctl restart linli-page.service"]
    unit = box / "etc/systemd/system" / PAGE_UNIT
    assert unit.read_bytes() == (ROOT / "provisioning" / PAGE_UNIT).read_bytes()
    assert (unit.parent / "multi-user.target.wants" / PAGE_UNIT).is_symlink()
    assert owned(box, "etc/linli/page.key") == ("0o600", "linli", "linli")
    assert owned(box, "etc/linli/page.pem") == ("0o640", "root", "linli")
    assert (live.install(site), live.orders) == ([], [])

    site.write_text(SITE)
    done = live.install(site)
    assert f"systemctl: {PAGE_UNIT}" in done and not unit.exists()
    assert live.orders[0] == "systemctl disable --now linli-page.service"
    assert live.orders[-1] == "systemctl restart linli.service"
    assert (live.install(site), live.orders) == ([], [])

    site.write_text(f"{SITE}page = {{}}\n")
    live.install(site)
    live.told.clear()
    assert f"/etc/systemd/system/{PAGE_UNIT}" in list(remove(live.machine, purge=False, dry=False))
    assert live.told[:2] == ["systemctl disable --now linli-page.service", "systemctl disable --now linli.service"]
    assert not unit.exists()


def test_what_an_interrupted_installation_did_not_tell_is_told_by_the_next(box, site, small):
    live = Live(box, small)
    live.install(site)
    site.write_text(SITE.replace("1-1.2", "1-1.4"))
    live.hangs = True
    with pytest.raises(KeyboardInterrupt):
        live.install(site)
    live.hangs = False
    assert live.install(site) == [f"systemctl: {UNIT}"]
    assert live.orders == [order for order in ALL_ORDERS if "systemd-" not in order]
    assert live.install(site) == []


def test_what_an_interrupted_installation_left_goes_with_the_rest(box, site, small, capsys):
    assert provision("install", site, "--root", box, *small) == 0
    (box / "opt/linli").rename(box / "opt/linli-old")
    (box / "opt/linli-new/lib").mkdir(parents=True)
    assert provision("remove", "--root", box) == 0
    assert list((box / "opt").iterdir()) == []


@pytest.mark.slow
def test_the_checkout_and_its_locked_requirements_become_a_program_that_runs(box, site, capsys):
    """Run by the bare interpreter here: its bin/python3 leads to a /usr/bin that this machine need not have."""
    assert provision("install", site, "--root", box) == 0
    packages = box / f"opt/linli/lib/python{PYTHON}/site-packages"
    start = (
        f"import sys; sys.path.append({str(packages)!r}); import onnxruntime, pymodbus; from gateway import cli; "
        "print(cli.__file__); sys.exit(cli.main())"
    )
    python = [os.path.realpath(sys.executable), "-I", "-S", "-c", start]
    shown = subprocess.run([*python, "check", str(site)], capture_output=True, text=True, timeout=60, cwd=box)
    assert (shown.returncode, shown.stderr) == (0, "")
    where, said = shown.stdout.splitlines()
    assert Path(where).is_relative_to(packages)
    assert "OK, centre-a" in said

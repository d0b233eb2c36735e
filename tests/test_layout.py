"""The house rules a machine can hold: import directions, one door a library, small files, a whole wheel."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from gateway.cli import COMMANDS

ROOT = Path(__file__).parent.parent
LINES_MAX = 400
TEXT = {".py", ".sh", ".toml", ".md", ".json", ".lock", ".service", ".js", ".css", ".html", ".conf", ".cfg", ".txt", ""}
CODE = {".py", ".sh", ".js", ".css", ".html", ""}

MAY_IMPORT: dict[str, set[str]] = {
    "drivers": set(),
    "models": set(),
    "gateway": {"drivers", "models"},
    "provisioning": {"gateway", "drivers"},
    "simulator": {"gateway", "drivers", "models", "provisioning"},
}

# Library -> the files that may import it. Everybody else asks them.
DOORS = {
    "serial": {"drivers/serial_line.py"},
    "pymodbus": {"drivers/modbus.py", "simulator/modbus_peer.py"},
    "gpiozero": {"drivers/pins.py", "simulator/pins.py"},
    "onnxruntime": {"models/session.py"},
    "paho": {"gateway/wire.py", "simulator/mqtt.py"},
    "nacl": {"gateway/signing.py"},
    "sqlite_utils": {"gateway/schema.py"},
    "rich": {"simulator/view.py"},
    "iotcore": {"simulator/broker.py"},
    "starlette": {"gateway/web.py"},
    "uvicorn": {"gateway/web.py"},
    "mfusepy": {"simulator/fuse_door.py"},
    "pygal": {"simulator/bench_plot.py"},
}

# Inside `gateway` a file imports only files that stand below it. A new file takes the lowest place it can live in.
GATEWAY_ORDER = (
    # the program
    "__main__", "cli", "page_command", "page_desk", "page_hall", "page_staff", "page_journal", "page_frame", "page_pin",
    "web", "doctor", "doctor_closed", "doctor_checks", "doctor_modbus", "doctor_finding",
    "alarm", "model", "model_list", "model_collect", "alarm_journal",
    "facility", "facility_page", "report", "report_page", "report_parts", "plot", "page",
    "output", "mode", "at_box", "check", "db", "outbox", "run", "diskless", "build",
    "report_figures", "facility_figures", "report_facts", "month", "scan_bus", "taken_up", "build_alarms",
    "build_models", "build_lines", "build_deeds", "check_device", "desk", "city_desk", "box", "by_hand",
    "contract_command",
    # the flow and what it asks
    "retained", "pipeline", "sensors", "sensor_faults", "snapshot", "own_alarms", "facilities", "alarms", "alarm_life",
    "alarm_runs", "moment", "deeds", "durable",
    "detectors", "calibration", "rollout", "row_models", "machines", "detector", "windows", "model_packages",
    "health", "control", "local", "button", "meters", "modbus_port", "listen_port", "ports",
    "night_water", "upkeep", "exercise", "switches", "reactions", "proofs", "modes", "until",
    "queues", "queue_watch", "queue_plan", "lines", "stands", "books", "ratings", "figures", "tally", "visits",
    "tickets",
    "hall_clock", "forecast", "waiting",
    # to the city, and what keeps it
    "around", "uplink", "session", "commands", "wire", "courier", "link", "reader", "storage", "store", "confirming",
    "salvage", "budget", "numbers", "history", "lookback", "journal", "kept", "pending", "open_readings", "minutes",
    "samples", "packs", "planes", "wal", "schema",
    # the site file
    "config", "site_writer", "page_rules", "facility_rules", "machine_rules", "alarm_rules", "output_rules",
    "site_kiosks", "site_rules", "site_devices", "site_reader", "site_tables",
    "site_hall", "site_machines", "site_outputs", "site_page", "site_types", "site_lines", "conditions",
    "reporting", "recurring", "opening",
    # words for all
    "clock", "contract_schema", "contract_catalogue", "contract_deeds", "contract_types", "contract_hall",
    "contract_commands", "contract", "signing", "notify", "words", "paths", "home", "crash",
)  # fmt: skip

# In pieces, so that this file does not name what it looks for.
REGISTRIES = [
    ".".join(pieces)
    for pieces in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("piwheels", "org"),
        ("debian", "org"),
        ("raspberrypi", "com"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("github", "com"),
        ("githubusercontent", "com"),
        ("huggingface", "co"),
    )
]


def files(*folders: str) -> Iterator[Path]:
    """Every file of ours under these folders of the project, by its path from there."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def all_files() -> Iterator[Path]:
    """The folders', `docs`, `.ci`, `requirements`, and those at the top."""
    yield from files(*MAY_IMPORT, "tests", "docs", "requirements", ".ci")
    yield from (path.relative_to(ROOT) for path in sorted(ROOT.iterdir()) if path.is_file() and path.name[0] != ".")


def imported(path: Path) -> Iterator[str]:
    """Dotted names a file imports, anywhere in it, `importlib.import_module("...")` and relative ones included."""
    package = ".".join(path.parent.parts)
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(filter(None, (package if node.level else "", node.module)))
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def test_imports_point_one_way_only() -> None:
    for folder, allowed in MAY_IMPORT.items():
        for path in files(folder):
            if path.suffix == ".py":
                ours = {name.partition(".")[0] for name in imported(path)} & set(MAY_IMPORT) - {folder}
                assert ours <= allowed, f"{path} may not import {sorted(ours - allowed)}: pass in what it needs instead"


def test_only_the_command_line_names_modules_it_does_not_import() -> None:
    callers = [
        path for path in files("gateway") if path.suffix == ".py" and "import_module" in (ROOT / path).read_text()
    ]
    assert callers == [Path("gateway/cli.py")], "elsewhere a plain import lets this page see who needs whom"


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_one_door(library: str) -> None:
    inside = {
        str(path)
        for path in files(*MAY_IMPORT)
        if path.suffix == ".py" and library in {name.partition(".")[0] for name in imported(path)}
    }
    strays = inside - DOORS[library]
    assert not strays, f"{sorted(strays)}: only {sorted(DOORS[library])} may import {library}; ask that file"


def test_every_file_of_the_gateway_has_its_place() -> None:
    here = {path.parts[1].removesuffix(".py") for path in files("gateway") if path.suffix == ".py"} - {"__init__"}
    assert here <= set(GATEWAY_ORDER), f"give {sorted(here - set(GATEWAY_ORDER))} a place in GATEWAY_ORDER"


def test_inside_the_gateway_imports_point_downwards() -> None:
    for path in files("gateway"):
        own = path.parts[1].removesuffix(".py")
        if path.suffix == ".py" and own in GATEWAY_ORDER:
            below = GATEWAY_ORDER[GATEWAY_ORDER.index(own) :]
            for name in imported(path):
                folder, _, rest = name.partition(".")
                module = rest.partition(".")[0]
                if folder == "gateway" and module in GATEWAY_ORDER:
                    assert module in below, f"{path} imports gateway.{module}, which stands above it in GATEWAY_ORDER"


def test_files_stay_small() -> None:
    for path in all_files():
        if path.suffix in CODE and path.name != "LICENSE":
            lines = (ROOT / path).read_text().count("\n")
            assert lines < LINES_MAX, f"{path} has {lines} lines; split it by its second reason to exist"


def test_no_file_names_a_server_packages_come_from() -> None:
    for path in all_files():
        if path.suffix in TEXT:
            text = (ROOT / path).read_text(errors="ignore").lower()
            named = [host for host in REGISTRIES if host in text]
            assert not named, f"{path} names {named}; packages come from wherever the machine's tools are told to look"


@pytest.mark.parametrize("lock", ["run", "dev", "train"])
def test_a_lock_names_no_address_and_pins_each_package_by_hash(lock: str) -> None:
    text = (ROOT / f"requirements/{lock}.lock").read_text()
    assert not re.search(r"://|--index|--extra-index|--find-links|--trusted", text)
    for pin in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]:
        assert re.match(r"[a-z0-9._-]+==\S+ (;[^\n]+ )?\\\n    --hash=sha256:[0-9a-f]{64}", pin), pin


@pytest.mark.parametrize(("lock", "extras"), [("run", ()), ("dev", ("demo", "dev")), ("train", ("train",))])
def test_a_lock_holds_what_pyproject_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    pins = re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", (ROOT / f"requirements/{lock}.lock").read_text(), re.MULTILINE)
    for requirement in map(Requirement, asked):
        chosen = [version for name, version in pins if name == requirement.name]
        fits = chosen and all(version in requirement.specifier for version in chosen)
        assert fits, f"{lock}.lock has {requirement.name} {chosen}, not {requirement}: requirements/README.md renews it"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_module_offers_what_the_command_line_calls(name: str) -> None:
    path = ROOT / (COMMANDS[name].module.replace(".", "/") + ".py")
    if not path.exists():
        pytest.skip(f"{path.name} is not written yet")
    offered = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert offered >= {"add_arguments", "run"}


def test_every_command_a_page_tells_people_to_run_exists() -> None:
    for path in (p for p in all_files() if p.suffix == ".md"):
        code = re.findall(r"`[^`\n]+`|^ {4}.*$|^```[\s\S]*?^```", (ROOT / path).read_text(), re.MULTILINE)
        for command in re.findall(r"(?:^|[`/ ])linli ([a-z]+(?:-[a-z]+)*)\b", "\n".join(code), re.MULTILINE):
            assert command in COMMANDS, f"{path} says `linli {command}`; there are {', '.join(COMMANDS)}"


@pytest.mark.slow
def test_the_wheel_holds_every_file_and_its_command_runs_on_its_own(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, timeout=100)
    (wheel,) = tmp_path.glob("linli-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = {str(path) for path in files(*MAY_IMPORT) if path.suffix != ".pyc"} - inside
    assert not missing

    clean = tmp_path / "clean"
    venv.create(clean, with_pip=False)
    install = [*pip, "--python", str(clean / "bin/python"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=60)
    bare = {"PATH": os.environ["PATH"]}
    shown = subprocess.run(
        [str(clean / "bin/linli"), "--help"], cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=30
    )
    assert shown.returncode == 0, shown.stderr
    assert all(name in shown.stdout for name in COMMANDS)
    where = "import drivers, gateway, models, provisioning, simulator as s; print(s.__file__)"
    found = subprocess.check_output([str(clean / "bin/python"), "-c", where], cwd=tmp_path, env=bare, text=True)
    assert Path(found.strip()).is_relative_to(clean)

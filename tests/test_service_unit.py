"""The service unit: what it promises systemd, and how little it may touch."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.cli import COMMANDS

UNIT = Path("provisioning/linli.service")
PAGE_UNIT = Path("provisioning/linli-page.service")
UNITS = pytest.mark.parametrize("unit", [UNIT, PAGE_UNIT], ids=lambda unit: unit.name)
EXPOSURE_MAX = 20  # tenths; the same program with `User=` alone has 92


@pytest.fixture
def analyze() -> str:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        advice = "needs systemd-analyze: apt-get install -y systemd"
        pytest.fail(advice) if os.environ.get("CI") == "true" else pytest.skip(advice)
    return tool


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def exposure(analyze: str, unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )


@UNITS
def test_the_unit_stays_under_the_exposure_we_promise(analyze: str, unit: Path) -> None:
    judged = exposure(analyze, unit)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_unit_with_a_user_of_its_own_and_no_more_is_refused(analyze: str, tmp_path: Path) -> None:
    plain = tmp_path / "linli.service"
    plain.write_text("[Service]\nType=notify\nUser=linli\nExecStart=/opt/linli/bin/linli run\n")
    assert exposure(analyze, plain).returncode == 1


@UNITS
def test_systemd_knows_every_line_of_the_unit(analyze: str, tmp_path: Path, unit: Path) -> None:
    here = tmp_path / unit.name  # the program is not installed here, so a stand-in takes its place
    here.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    verified = subprocess.run([analyze, "verify", "--man=no", str(here)], capture_output=True, text=True, timeout=60)
    about_us = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, about_us) == (0, [])


def test_a_gateway_that_hangs_is_started_again_and_never_given_up() -> None:
    said = settings(UNIT.read_text())
    assert said["Type"] == ["notify"]
    assert said["NotifyAccess"] == ["main"]
    assert 0 < int(said["WatchdogSec"][0]) <= 60
    assert said["Restart"] == ["always"]
    assert said["StartLimitIntervalSec"] == ["0"]


def test_the_kernels_clock_state_and_boot_id_stay_readable() -> None:
    said = settings(UNIT.read_text())
    assert "adjtimex" in said["SystemCallFilter"][-1], "without it every wall time is unsure"
    assert "ProtectClock" not in said
    assert "ProcSubset" not in said


def test_the_page_may_write_nothing_and_waits_behind_the_gateway() -> None:
    said = settings(PAGE_UNIT.read_text())
    assert said["ProtectSystem"] == ["strict"]
    assert not {"StateDirectory", "ReadWritePaths", "RuntimeDirectory", "ConfigurationDirectory"} & set(said)
    assert int(said["Nice"][0]) > 0
    assert said["Restart"] == ["always"]


@UNITS
def test_the_unit_starts_a_command_that_exists(unit: Path) -> None:
    program, command, *_ = settings(unit.read_text())["ExecStart"][0].split()
    assert program.endswith("/bin/linli")
    assert command in COMMANDS

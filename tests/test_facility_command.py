"""`linli facility` against a running gateway: entries by hand, in its own database, over a restart."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import cli

SITE = """
schema = 1
site = { id = "demo-centre", gateway = "demo-centre-a", name = "邻里示范社区服务中心" }
clock = { trust = "system" }
facility.loop = { name = "听障环路", duty = "物业", repair_hours = 24, test_days = 90 }
facility.door = { name = "自动门", duty = "物业" }
uplink = { broker = "mqtt://127.0.0.1:1" }
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    return tmp_path / "site.toml"


@contextmanager
def gateway(site: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "gateway", "run", str(site), "--state", str(site.parent / "state")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ)
    try:
        until_s = time.monotonic() + 30
        while not (site.parent / "state/linli.sock").exists():
            assert process.poll() is None and time.monotonic() < until_s, process.stderr and process.stderr.read()
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_a_case_goes_by_hand_from_open_to_repaired_and_stays_over_a_restart(site, capsys):
    state = str(site.parent / "state")

    def says(*words: str, code: int = 0) -> str:
        assert cli.main(["facility", "--state", state, *words]) == code
        return "".join(capsys.readouterr())

    assert "没有网关在运行" in says("list", code=1)
    assert "expected who does it" in says("open", "loop", code=2)
    assert "expected the name of a facility" in says("--by", "李姐", "tested", code=2)
    with gateway(site):
        assert "loop：正常，尚无测试记录" in says("list")
        assert "第 1 号故障自 2" in says("--by", "李姐", "--note", "<b>无声</b>", "open", "loop")
        assert "acknowledged" in says("--by", "李姐", "--lang", "en", "ack", "loop")
        assert "found facility 'lop', expected one of loop, door" in says("--by", "李姐", "ack", "lop", code=1)
        assert "expected 200 characters" in says("--by", "李姐", "--note", "x" * 201, "tested", "loop", code=1)
        assert "last tested" in says("--by", "李姐", "--lang", "en", "tested", "door")
    with gateway(site):
        listed = says("--lang", "en", "list")
        assert "loop: out of service, case 1 open since" in listed and "acknowledged" in listed
        assert "door: in service, last tested" in listed
        assert "loop：正常" in says("--by", "王师傅", "repaired", "loop")

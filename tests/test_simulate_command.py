"""`linli simulate` as a process: its exit code says whether everything it made is durable."""

import argparse
import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, key_of

from simulator import simulate

SITE = Path(__file__).parent.parent / "simulator" / "sites" / "demo.toml"


class Pump(threading.Thread):
    """A gateway in real time for the command: acknowledges everything."""

    def __init__(self, links: Path) -> None:
        super().__init__(daemon=True)
        self.gateway = FakeGateway(links, ["n1", "n2", "k1"], time.monotonic)
        self.ends = threading.Event()

    def run(self) -> None:
        while not self.ends.wait(0.01):
            self.gateway.step()

    def __enter__(self) -> "Pump":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.join()
        self.gateway.close()


def arguments(folder: Path, *more: str) -> list[str]:
    return [str(SITE), "--links", str(folder / "links"), "--truth", str(folder / "truth"), *more]


def simulate_here(folder: Path, *more: str) -> int:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    return simulate.run(parser.parse_args(arguments(folder, *more)))


def test_the_command_ends_well_once_everything_is_durable(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with Pump(tmp_path / "links") as pump:
        assert simulate_here(tmp_path, "--scenario", "chaos", "--seconds", "2") == 0
    facts = [json.loads(line) for line in (tmp_path / "truth").read_text().splitlines()]
    numbered = {key_of(row["src"]): row["value"] for row in facts if row["src"]}
    assert pump.gateway.durable == numbered
    assert len(numbered) > 400
    assert not any((tmp_path / "links" / name).exists() for name in ("n1", "n2", "k1", "pins.sock"))
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_fails_and_names_who_still_holds_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate, "SETTLE_S", 0.3)
    assert simulate_here(tmp_path, "--seconds", "0.2", "--nodes", "simulated") == 1
    said = capsys.readouterr().err
    assert "n1 still holds 2 facts; expected the gateway to make all durable. See that it runs" in said
    assert "n2 still holds 2 facts" in said
    assert "k1" not in said


def test_wrong_use_is_told_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate_here(tmp_path, "--scenario", "no-such") == 2
    assert "expected one of chaos, demo, nodes, powercut, quiet" in capsys.readouterr().err
    assert not (tmp_path / "truth").exists()
    with pytest.raises(SystemExit):
        simulate_here(tmp_path, "--speed", "0")


def test_without_real_data_it_says_once_that_water_and_tickets_are_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINLI_DATA", str(tmp_path / "none"))
    with Pump(tmp_path / "links") as pump:
        assert simulate_here(tmp_path, "--scenario", "demo", "--seconds", "2", "--speed", "20") == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in said] == ["no folder weusedto", "no folder warsaw-queues"]
    sources = {key[0] for key in pump.gateway.durable}
    assert sources == {"n1", "n2", "k1"}


def test_a_folder_no_socket_fits_in_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate_here(tmp_path / ("x" * 110)) == 2
    assert "longer than 107 bytes, which no socket can have; expected a folder" in capsys.readouterr().err


def test_a_second_simulator_in_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "links").mkdir()
    with open(tmp_path / "links" / "lock", "w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert simulate_here(tmp_path, "--seconds", "0") == 2
        assert "found another simulator at work in it; expected a folder of our own. End" in capsys.readouterr().err
    assert not (tmp_path / "truth").exists()


@pytest.mark.parametrize("heard", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_signal_ends_it_in_seconds_and_the_code_says_whether_all_is_durable(tmp_path: Path, heard: bool) -> None:
    command = [sys.executable, "-m", "gateway", "simulate", *arguments(tmp_path, "--scenario", "chaos")]
    (tmp_path / "links").mkdir()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "simulating demo-centre-a: n1, n2, k1" in process.stdout.readline()
        if heard:
            with Pump(tmp_path / "links"):
                time.sleep(0.5)
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
        else:
            late_s = time.monotonic() + 10
            while '"src":"' not in (tmp_path / "truth").read_text() and time.monotonic() < late_s:
                time.sleep(0.02)  # before the first fact there is nothing that could not be durable
            process.send_signal(signal.SIGTERM)
            started_s = time.monotonic()
            assert process.wait(10) == 1
            assert time.monotonic() - started_s < 7

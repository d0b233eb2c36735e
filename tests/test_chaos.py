"""Chaos from outside: nothing is lost while everything is killed, and a gateway that loses is found out."""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from simulator import chaos, scenario
from simulator.chaos import FAULTS, add_arguments, replay, scenario_file
from simulator.faults import Schedule
from simulator.planted import PLANTS

ROOT = Path(__file__).parents[1]
ON_DEMAND = pytest.mark.skipif(os.environ.get("LINLI_PLANTS") != "1", reason="five minutes; LINLI_PLANTS=1 asks for it")


def run_chaos(folder, *arguments):
    """(exit code, output, the JSON it wrote)"""
    said = folder / "said.json"
    command = [sys.executable, "-m", "gateway", "chaos", "--json", str(said), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, timeout=400
    )
    assert said.exists(), done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr, json.loads(said.read_text())


@pytest.mark.mosquitto
@pytest.mark.slow
@pytest.mark.timeout(450)
def test_a_minute_of_chaos_loses_nothing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    code, out, said = run_chaos(folder, "--seconds", "60", "--seed", "7")
    assert code == 0, out
    did, verdict = said["did"], said["verdict"]
    assert did.get("gateway kills", 0) + did.get("gateway terms", 0) >= 2
    assert did.get("broker kills", 0) + did.get("broker stops", 0) >= 1
    assert did["line cut"] >= 3
    assert did["line garble"] >= 3
    assert verdict["facts"] == verdict["arrived"] > 10_000
    assert verdict["missing"] == verdict["wrong"] == verdict["twice"] == verdict["holes"] == 0
    assert [path.name for path in folder.iterdir()] == ["said.json"]


@ON_DEMAND
@pytest.mark.mosquitto
@pytest.mark.slow
@pytest.mark.timeout(450)
@pytest.mark.parametrize(
    ("plant", "found"),
    [
        ("ack-before-commit", {"missing", "given_up"}),
        ("delete-before-ack", {"missing", "given_up", "holes"}),
        ("number-from-memory", {"missing", "conflicts"}),
        ("none", set()),
    ],
)
def test_a_planted_bug_is_found_and_the_same_card_without_it_is_good(plant, found, tmp_path_factory):
    code, out, said = run_chaos(tmp_path_factory.mktemp("c"), "--seconds", "60", "--plant", plant)
    print(out)
    assert code == (1 if found else 0), out
    assert bool(found & set(said["verdict"]["failed"])) is bool(found)
    assert bool(found) is (f"the same again: linli chaos --seconds 60 --seed 1 --plant {plant}" in out)


@pytest.mark.parametrize("seconds", [60, 100, 600])
def test_whatever_the_seed_the_gateway_is_ended_each_30_s_and_the_broker_each_60_s(seconds):
    for seed in range(100):
        begun = Counter(change.target for change in Schedule(FAULTS, [], seed).due(seconds) if change.begins)
        assert begun["gateway"] >= seconds / 30
        assert begun["broker"] >= seconds // 60


def test_the_same_seed_strikes_at_the_same_moments():
    first, again, other = (list(Schedule(FAULTS, [], seed).due(600)) for seed in (3, 3, 4))
    assert first == again != other


def test_the_command_that_replays_a_run_says_the_same_as_the_run():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--seconds", "90", "--seed", "5", "--rate", "30", "--broker", "embedded", "--plant", "none"]
    args = parser.parse_args(words)
    assert parser.parse_args(replay(args).split()[2:]) == args


def test_another_rate_is_shared_by_all_sources(tmp_path):
    changed = scenario.load(scenario_file(tmp_path, 60))
    assert (changed.load.node_per_s, changed.load.kiosk_per_s) == (20, 20)
    assert changed.fault == scenario.load("chaos").fault
    assert scenario_file(tmp_path, None) == "chaos"


def test_without_mosquitto_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(chaos, "mosquitto_path", lambda: None)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert chaos.run(parser.parse_args([])) == 2
    assert "found no mosquitto on PATH; expected it" in capsys.readouterr().err


def test_every_plant_that_chaos_offers_is_there_and_no_other():
    assert tuple(PLANTS) == chaos.PLANTS


def test_a_plant_nobody_knows_starts_no_gateway():
    command = [sys.executable, "-m", "simulator.planted", "no-such", "run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert ", ".join(PLANTS) in done.stderr

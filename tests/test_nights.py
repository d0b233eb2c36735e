"""Seeded nights: the gateway keeps its promises in all of them, and one with a bug in it does not."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.pending import Pending
from simulator import month, nights
from simulator.planted import NIGHT_PLANTS

ROOT = Path(__file__).parents[1]
COUNT = int(os.environ.get("LINLI_NIGHTS", "2000"))


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, dict]:
    """(exit code, output, the JSON it wrote)"""
    said = folder / "said.json"
    command = [sys.executable, "-m", "gateway", "nights", "--json", str(said), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=1000)
    assert said.exists(), done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr, json.loads(said.read_text())


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_every_promise_holds_in_every_night(tmp_path: Path) -> None:
    code, out, said = run(tmp_path, "--count", str(COUNT))
    print(out)
    assert code == 0, out
    assert said["nights"] == COUNT
    assert len(said["faults"]) >= 20
    assert min(said["faults"].values()) >= COUNT // 200
    assert said["facts"] > 100 * COUNT
    assert said["commits"] > 20 * COUNT


def test_one_seed_is_one_night() -> None:
    """In processes that hash and order their sets differently."""
    play = (
        "import logging; logging.disable(50)\n"
        "from simulator.nights import play, theatre\n"
        "with theatre() as place:\n"
        "    for seed in (3, 950, 1370):\n"
        "        print(play(seed, place).trace)"
    )
    traces = {
        subprocess.check_output([sys.executable, "-c", play], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    }
    assert len(traces) == 1
    assert len(set(traces.pop().split())) == 3


# What the night says that finds it: it has to be this bug's doing.
DURABLE, CHANGED = "was called durable and is nowhere", "no_pack_changes"
SAYS = {
    "ack-before-commit": (DURABLE,),
    "delete-before-ack": (DURABLE, "numbers_have_no_holes", "has not arrived"),
    "number-from-memory": (DURABLE, CHANGED, "has not arrived"),
    "synchronous-normal": (DURABLE, CHANGED, "no_fact_is_held_twice"),
    "wall-for-a-wait": ("has not arrived", "the_store_has_drained"),
    "gap-forgotten": (DURABLE, "numbers_have_no_holes"),
    "mark-apart": (DURABLE,),
    "marks-forgotten": ("no_fact_is_held_twice",),
    "journal-forgotten": (DURABLE,),
    "restart-unseen": (DURABLE, "has not arrived"),
    "confirmed-forgotten": (DURABLE, "numbers_have_no_holes"),
    "deed-after-commit": ("outputs_follow_the_rope",),
    "window-ignored": ("every_queue_is_bounded",),
    "sync-untold": ("stamps_are_true_once_the_clock_is_known",),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", NIGHT_PLANTS)
def test_a_planted_bug_is_found_within_two_hundred_nights(plant: str, tmp_path: Path) -> None:
    code, out, said = run(tmp_path, "--count", "200", "--plant", plant)
    assert code == 1, out
    for seed, problems in said["failed"].items():
        assert f"the same again: linli nights --seed {seed} --count 1 --plant {plant}" in out
        assert any(word in problem for word in SAYS[plant] for problem in problems), out


def test_a_night_in_which_nothing_is_ever_due_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pending, "due_in_s", lambda pending, now_s: None)
    with nights.theatre() as place:
        problems = nights.play(1, place).problems
    assert any("what_is_due_is_handed_over: " in problem and "sources wait for" in problem for problem in problems)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_day_at_a_natural_pace_goes_well_and_says_how_large_the_store_is(tmp_path: Path) -> None:
    code, out, said = run(tmp_path, "--month", "--minutes", "1500", "--seed", "2")
    assert code == 0, out
    assert "day  1: " in out
    assert said["facts"] > 1000
    assert said["command"] == "linli nights --seed 2 --month --minutes 1500"


def test_a_month_in_which_the_store_grows_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The city is heard of nowhere, so nothing is ever confirmed, and nothing is ever pruned."""
    monkeypatch.setattr(month, "GROWN_BY_DAY", 1)
    monkeypatch.setattr(month, "DAY_S", 200.0)
    monkeypatch.setattr(month, "GROWTH_MAX", 1.0)
    with nights.theatre() as place:
        folder = place.template.parent / "month"
        folder.mkdir()
        lines: list[str] = []
        outcome = month.play_month(1, place, folder, 200.0, lines.append)
    assert any("the store grows" in problem for problem in outcome.problems)
    assert len(lines) >= 2


def test_a_replay_says_all_that_was_asked_for() -> None:
    parser = argparse.ArgumentParser()
    nights.add_arguments(parser)
    args = parser.parse_args(["--seed", "7", "--count", "9", "--minutes", "2", "--plant", "mark-apart"])
    assert nights.replay(args, 8) == "linli nights --seed 8 --count 1 --minutes 2 --plant mark-apart"


@pytest.mark.parametrize("count", ["0", "-1", "1000001"])
def test_a_count_that_makes_no_sense_is_refused(count: str) -> None:
    parser = argparse.ArgumentParser()
    nights.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--count", count])

"""The power is cut under a real file system: what was acknowledged is there, and a way that loses is seen to lose."""

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from simulator import fuse_door, powercut
from simulator.disk_log import Entry, Replay, flushed_until, read_log, seen_until, survivors, unflushed
from simulator.logged_disk import FLUSH, WRITE, LoggedDisk
from simulator.planted import POWER_PLANTS

ON_CI = os.environ.get("CI") == "true"
ROOT = Path(__file__).parents[1]
A, B, C = b"a" * 1024, b"b" * 1024, b"c" * 2048


@pytest.fixture
def written(tmp_path) -> tuple[Path, Path, list[Entry]]:
    """(image before, log, entries): a, flush, b over a, c behind it."""
    before, live, log = (tmp_path / name for name in ("before", "live", "log"))
    for image in (before, live):
        image.write_bytes(bytes(8192))
    disk = LoggedDisk(live, log)
    disk.write("/disk", A, 0, 0)
    disk.fsync("/disk", 0, 0)
    disk.write("/disk", B, 0, 0)
    disk.write("/disk", C, 4096, 0)
    assert disk.read("/disk", 1024, 0, 0) == B
    return before, log, read_log(log)


def cut(written, tmp_path, seen: int, fate: str, seed: int = 1) -> bytes:
    before, log, entries = written
    replay = Replay(before, log, entries)
    try:
        replay.cut(seen, fate, random.Random(seed), tmp_path / "after")
    finally:
        replay.close()
    return (tmp_path / "after").read_bytes()


def test_the_log_tells_writes_and_flushes_in_their_order(written):
    _, log, entries = written
    assert [entry.kind for entry in entries] == [WRITE, FLUSH, WRITE, WRITE]
    assert unflushed(entries) == [1024, 0, 1024, 3072]
    assert entries[-1].end == log.stat().st_size
    assert [seen_until(entries, entry.end) for entry in entries] == [1, 2, 3, 4]
    assert [seen_until(entries, entry.end - 1) for entry in entries] == [0, 1, 2, 3]
    assert [flushed_until(entries, seen) for seen in range(5)] == [0, 0, 2, 2, 2]


def test_a_cut_keeps_what_was_flushed_and_nothing_that_was_not_written_yet(written, tmp_path):
    assert cut(written, tmp_path, 1, "none") == bytes(8192)
    assert cut(written, tmp_path, 1, "all") == A + bytes(7168)
    assert cut(written, tmp_path, 2, "none") == A + bytes(7168)
    assert cut(written, tmp_path, 4, "none") == A + bytes(7168)
    assert cut(written, tmp_path, 4, "all") == B + bytes(3072) + C + bytes(2048)


def test_unflushed_writes_survive_each_by_its_own_luck_and_torn_ones_by_sectors(written, tmp_path):
    entries = written[2]
    subsets = {tuple(piece.offset for piece in survivors(entries[2:], "subset", random.Random(s))) for s in range(50)}
    assert subsets == {(), (0,), (4096,), (0, 4096)}
    prefixes = {tuple(piece.offset for piece in survivors(entries[2:], "prefix", random.Random(s))) for s in range(50)}
    assert prefixes == {(), (0,), (0, 4096)}
    torn = {cut(written, tmp_path, 4, "torn", seed)[:1024] for seed in range(30)}
    assert torn == {A, B, A[:512] + B[:512], B[:512] + A[:512]}


def test_a_log_that_breaks_off_in_an_entry_ends_before_it_and_rubbish_is_refused(written, tmp_path):
    log = written[1]
    log.write_bytes(log.read_bytes()[:-1])
    assert len(read_log(log)) == 3
    log.write_bytes(b"\x07" * 40)
    with pytest.raises(ValueError, match="found an entry of kind 7 at byte 0; expected a write or a flush"):
        read_log(log)


def test_cuts_must_come_in_rising_order(written, tmp_path):
    before, log, entries = written
    replay = Replay(before, log, entries)
    replay.cut(4, "none", random.Random(1), tmp_path / "after")
    with pytest.raises(ValueError, match="expected them in rising order"):
        replay.cut(1, "none", random.Random(1), tmp_path / "after")
    replay.close()


def test_without_root_or_fuse_it_says_what_is_missing(monkeypatch, capsys):
    parser = argparse.ArgumentParser()
    powercut.add_arguments(parser)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert powercut.run(parser.parse_args([])) == 2
    assert "found an ordinary user; expected root" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(fuse_door, "DEVICE", Path("/dev/no-such-fuse"))
    assert powercut.run(parser.parse_args([])) == 2
    assert "found no /dev/no-such-fuse; expected a kernel with FUSE" in capsys.readouterr().err


def test_every_plant_of_a_control_is_there():
    assert {way.plant for way in powercut.WAYS} - {""} == set(POWER_PLANTS)
    assert [way.name for way in powercut.WAYS if not way.loses] == ["as delivered"]


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_cut_at_any_moment_keeps_what_was_acknowledged_and_both_controls_lose(tmp_path_factory):
    if not ON_CI and (missing := fuse_door.what_is_missing()):
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("p")
    said_file = folder / "said.json"
    command = [sys.executable, "-m", "gateway", "powercut", "--states", "9", "--seconds", "4", "--json", str(said_file)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, timeout=220
    )
    assert done.returncode == 0, done.stdout + done.stderr
    delivered, normal, nobarrier = json.loads(said_file.read_text())["ways"]
    assert delivered["states"] == 9 and delivered["lossy"] == 0 and delivered["acknowledged"] > 500
    assert delivered["reruns"] == 1 and not any(delivered["faults"].values())
    assert delivered["flushes"] > 100 and nobarrier["flushes"] < 10
    assert normal["faults"]["lost"] > 0 and nobarrier["faults"]["lost"] + nobarrier["faults"]["damaged"] > 0
    assert [path.name for path in folder.iterdir()] == ["said.json"]

"""The demo from outside: it ends well, says what went wrong, leaves nothing behind, and shows what it does not know."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from gateway.config import load
from simulator.demo import Outage, really_away
from simulator.processes import Child, Died, Interrupted, Processes, WrongPlace, workplace
from simulator.scene import Happening, Plain, Scene, Tickets, Watcher
from simulator.stage import SITE
from simulator.view import LivePage

ROOT = Path(__file__).parents[1]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def short(tmp_path_factory):
    """A folder with a short path: sockets lie in it."""
    return tmp_path_factory.mktemp("d")


def demo(folder, *arguments):
    bare = {"PATH": os.environ["PATH"].replace("/usr/sbin", "/nowhere"), "HOME": "/nonexistent", "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "gateway", "demo", "--plain", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process, words):
    """Read its lines until one has these words."""
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without saying {words!r}: {process.stderr.read()}")


def left_behind(folder):
    """Command lines of processes that were started for something in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(words)
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demo_shows_every_promise_on_a_bare_account_and_leaves_nothing(short):
    process = demo(short, "--seconds", "40")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    assert "alarm leak: unacknowledged" in out
    assert "output valve: closed" in out
    assert "the gateway has lost the city" in out
    assert "the city holds alarm cord: unacknowledged" in out
    assert re.search(r"the page in the centre http://127\.0\.0\.1:\d+/", out), "a newcomer can look at it"
    assert "verdict  GOOD" in out
    assert "BAD" not in out
    assert "\x1b" not in out  # no colour for machines
    away = [line for line in out.splitlines() if "status broker=away gateway=alone" in line]
    assert any("alarms=leak:unacknowledged,cord:unacknowledged" in line and "strobe=on" in line for line in away)
    assert not left_behind(short)
    assert not list(short.iterdir())


@pytest.mark.slow
def test_a_gateway_that_dies_early_is_named_with_the_end_of_its_log(short):
    process = demo(short, "--keep", str(short / "k"))
    said(process, "an ordinary day")
    os.kill(int((short / "k/state/lock").read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "gateway was ended by SIGKILL, expected it to run on" in err
    assert "running: demo-centre-a" in err  # from its log
    assert not left_behind(short)
    assert (short / "k/truth.jsonl").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_that_is_asked_to_end_takes_its_children_along(short, number):
    process = demo(short)
    said(process, "an ordinary day")
    assert len(left_behind(short)) >= 4  # broker, city, gateway, simulator
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no verdict" in err
    assert not left_behind(short)
    assert not list(short.iterdir())


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "truth.jsonl").touch()
    process = demo(tmp_path, "--keep", str(tmp_path))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "found files in it; expected a new or empty folder" in err


def test_a_path_too_long_for_sockets_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(WrongPlace, match="expected at most 85"), workplace(tmp_path / ("x" * 90), "demo"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_story_too_short_to_be_told_is_wrong_use(short):
    process = demo(short, "--seconds", "5")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "found 5; expected 32" in err


@pytest.mark.parametrize(
    ("outages", "away"),
    [([], False), ([Outage(15, 25, True)], True), ([Outage(15, 25, False)], False), ([Outage(15, 20, True)], False)],
)
def test_only_a_long_outage_that_the_gateway_noticed_counts(outages, away):
    assert really_away(outages) is away


def test_a_child_that_will_not_stop_is_killed_in_time(tmp_path):
    child = Child("stubborn", [sys.executable, "-c", STUBBORN], tmp_path / "log")
    while not child.said("up"):
        time.sleep(0.01)
    before_s = time.monotonic()
    assert child.stop(0.3) == -signal.SIGKILL
    assert time.monotonic() - before_s < 3


def test_a_child_that_ends_is_told_once_and_a_signal_ends_every_wait(tmp_path):
    with Processes(tmp_path) as processes:
        child = processes.start("nothing", "no-such-command")
        with pytest.raises(Died, match="nothing ended with exit code 2.*\n.*no command 'no-such-command'"):
            processes.wait_for(lambda: False, 20, time.monotonic)
        processes.watch()
        assert child.code == 2
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            processes.wait(20)


# -- what is shown ----------------------------------------------------------------------------------------------------


def status(**changed):
    known = {
        "values": {"basement/main/flow": {"value": 0.0002, "age_s": 3.0}}, "alarms": {}, "heads": {"events": 7},
        "outputs": {"valve": False, "strobe": False}, "uplink": {"connected": True, "acked": {"events": 4}},
        "ports": {"n1": {"open": True}},
    }  # fmt: skip
    return known | changed


def scene(known, packs=None, tickets=None):
    return Scene(12.0, 40.0, ("平常", "calm"), True, known, packs, tickets, None, [Happening(1.0, "demo", "一", "one")])


def page(shown):
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    console.print(LivePage(load(SITE), console).page(shown))
    return console.file.getvalue()


def test_the_page_shows_what_is_known_in_both_languages():
    text = page(scene(status(alarms={"leak": "unacknowledged"}, outputs={"valve": True}), {"events": 5}, 3))
    assert "未确认 unacknowledged" in text
    assert "已关闭 closed" in text
    assert "12.00 L/min  3 秒前 s ago" in text
    assert "3 人 people" in text
    assert "http" not in text
    assert "http://127.0.0.1:4/" in page(scene(status())._replace(page_url="http://127.0.0.1:4/"))
    events = next(line for line in text.splitlines() if "事件 events" in line)
    assert events.split()[3:6] == ["7", "5", "3"]  # stored, at the city, waiting


def test_the_page_shows_unknown_as_unknown():
    text = page(scene(None))
    assert "没有应答 no answer" in text
    assert text.count("未知 unknown") == 7  # the gateway, five flow meters, the tickets
    assert "L/min" not in text
    assert "正常 normal" not in text
    assert text.count("?") == 12


def test_machines_read_one_status_line_each_two_seconds():
    lines = []
    plain = Plain(load(SITE), lines.append)
    for s in (12.0, 13.0, 14.0):
        plain.show(scene(None)._replace(s=s), [])
    assert len(lines) == 2
    assert lines[0].startswith("  12.0 s  status broker=up gateway=unknown tickets=unknown basement/main/flow=unknown")
    assert lines[0].endswith("packs.health=unknown/unknown/unknown")
    plain.show(scene(status())._replace(s=16.0), [])
    assert "basement/main/flow=12.00L/min@3.0s basement/main/meter=unknown" in lines[2]


def test_an_alarm_is_told_when_it_comes_and_when_it_goes():
    watcher = Watcher(load(SITE))
    told = [happening.en for happening in watcher.gateway(1.0, status(alarms={"leak": "unacknowledged"}))]
    assert told == ["alarm leak: unacknowledged", "the gateway is connected to the city"]
    assert list(watcher.gateway(2.0, None)) == []  # no answer is no news
    told = [happening.zh for happening in watcher.gateway(3.0, status())]
    assert told == ["告警 地下室漏水: 正常"]


def test_a_ticket_waits_until_it_is_called():
    tickets = Tickets()
    for event, label in (("issued", "A001"), ("issued", "A002"), ("called", "A001"), ("transferred", "A001")):
        tickets.take({"type": f"linli.ticket.{event}.v1", "data": {"value": label}})
    assert len(tickets) == 2
    tickets.take({"type": "linli.ticket.cancelled.v1", "data": {"value": "A002"}})
    tickets.take({"type": "linli.ticket.rated.v1", "data": {"value": 5}})
    assert len(tickets) == 1

"""Nodes that run their real firmware in a simulated centre: what they say is the truth, what they do not is seen."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, key_of
from test_chaos import run_chaos

from drivers.node_settings import Settings
from drivers.reading import Value
from gateway.config import load
from simulator import nodes_soak, simulate
from simulator.building import Report
from simulator.centre import Centre
from simulator.firmware import MICROPYTHON, interpreter
from simulator.firmware_node import RAW, FirmwareNode, not_on_board, wiring
from simulator.hands import Hands
from simulator.scenario import ScenarioError, parse
from simulator.scenario import load as load_scenario
from simulator.truth import Truth

SITE = Path(__file__).parent.parent / "simulator/sites/demo.toml"
QUIET = "[water]\non = false\n[hall]\non = false\n"
HERE = interpreter()[0]
SEED = ("--seed", "10")  # its thirty seconds hold a kill of the gateway, a cut and two delays


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FirmwareNode]:
    truth = Truth(tmp_path / "truth")
    node = FirmwareNode("n1", tmp_path / "flash", [], Settings(""), truth, time.time, time.monotonic)
    yield node
    node.close()
    truth.close()


def test_pins_and_levels_are_those_of_the_boards_file_and_the_wiring_page() -> None:
    assert wiring() == {
        "loop": (26, 27, 28),
        "flow": (2, 3),
        "contact": (6, 7, 8, 9),
        "pad": (10, 11, 12, 13, 14, 15),
    }
    assert {state: round(raw / 65535, 3) for state, raw in RAW.items()} == {
        "short": 0.0,
        "normal": 0.18,
        "alarm": 0.51,
        "cut": 1.0,
    }
    assert not_on_board(["n1:loop3", "n1:loop4", "n1:temp1", "n2:pad1", "n2:pad2"]) == [
        "n1:loop4",
        "n1:temp1",
        "n2:pad2",
    ]


def test_an_input_that_was_moved_and_of_which_nothing_was_said_is_owed(node: FirmwareNode) -> None:
    assert (node.untold, node.undurable) == (0, 1)  # its HELLO
    node.move("n1:contact1", True)
    assert (node.untold, node.undurable) == (1, 2)  # nobody has let it speak


def test_what_nobody_takes_from_the_line_is_lost_and_what_is_said_is_in_the_truth(
    node: FirmwareNode, tmp_path: Path
) -> None:
    until_s = time.monotonic() + 5
    while node.undurable < 8 and time.monotonic() < until_s:  # 7 levels as they are at rest, and a first flow
        node.pump()
        time.sleep(0.02)
    said = [json.loads(line) for line in (tmp_path / "truth").read_text().splitlines()]
    levels = {row["sensor"]: row["value"] for row in said if "flow" not in row["sensor"]}
    assert levels == {f"n1:loop{n}": "cut" for n in (1, 2, 3)} | {f"n1:contact{n}": False for n in (1, 2, 3, 4)}
    for _ in range(300):
        node.pump()  # it says them again and again, to nobody
        time.sleep(0.01)
    assert 0 < len(node.outgoing(100_000)) <= 4096
    assert len((tmp_path / "truth").read_text().splitlines()) < 30  # each once


@pytest.mark.slow
def test_the_gateway_holds_what_the_firmware_said_through_cuts_and_kills(tmp_path: Path) -> None:
    bad = '[hands]\nchange_s = 5\n[[fault]]\ndo = "garble"\nevery_s = 9\nfor_s = 9\nshare = 0.005\n'
    bad += '[[fault]]\ndo = "cut"\nevery_s = 6\nfor_s = 1\n'
    scenario = parse(QUIET + bad, "test")
    links = tmp_path / "links"
    links.mkdir()
    names = ["n1", "n2"]
    centre = Centre(load(SITE), scenario, links, tmp_path / "truth", 1, 1.0, time.monotonic, time.time, names)
    gateway = FakeGateway(links, names, time.monotonic)
    kills = [4.3, 8.6]
    with centre:
        while centre.now_s() < 12:
            centre.step(0.01)
            gateway.step()
            if kills and centre.now_s() > kills[0]:
                kills.pop(0)
                gateway.kill()
        centre.calm()
        until_s = centre.now_s() + 20
        while centre.undurable() and centre.now_s() < until_s:
            centre.step(0.01)
            gateway.step()
        assert not centre.undurable(), HERE
        moved = [node.moved.total() for node in centre.nodes.values()]
    gateway.close()
    rows = [json.loads(line) for line in (tmp_path / "truth").read_text().splitlines()]
    said = {key_of(row["src"]): row["value"] for row in rows if row["src"] and row["kind"] != "lost"}
    assert gateway.durable == {key: value for key, value in said.items() if key[0] in names}
    assert not gateway.lost and gateway.bad > 3 and min(moved) > 8


def test_a_node_that_loses_its_power_counts_on_and_names_what_may_be_lost(node: FirmwareNode, tmp_path: Path) -> None:
    node.offer([])
    deadline_s = time.monotonic() + 5
    while node.undurable < 7 and time.monotonic() < deadline_s:
        node.pump()
        time.sleep(0.02)
    before, held = node.boot, node.undurable
    node.reboot()
    while node.boot in (0, before) and time.monotonic() < deadline_s + 5:
        node.pump()
        time.sleep(0.02)
    assert node.boot == before + 1
    (lost,) = [row for row in map(json.loads, (tmp_path / "truth").read_text().splitlines()) if row["kind"] == "lost"]
    assert (lost["first"], lost["last"]) == (1, held)


def test_nodes_run_their_firmware_where_they_can() -> None:
    site, micro = load(SITE), HERE == MICROPYTHON
    chosen = simulate.nodes_with_firmware
    assert chosen(site, load_scenario("demo"), simulate.AUTO) == (["n1", "n2"] if micro else [])
    assert chosen(site, load_scenario("demo"), simulate.SIMULATED) == []
    assert chosen(site, load_scenario("chaos"), simulate.AUTO) == []
    with pytest.raises(ScenarioError, match="found \\[load\\] node_per_s beside --nodes firmware; expected none"):
        chosen(site, load_scenario("chaos"), simulate.FIRMWARE)


def test_hands_need_a_node_with_firmware_and_time_between_two_presses(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="found change_s 2; expected 0, or at least 5"):
        parse("[hands]\nchange_s = 2", "test")
    scenario = parse(QUIET + "[hands]\nchange_s = 5", "test")
    with pytest.raises(ScenarioError, match="no node that runs its firmware; expected one"):
        Centre(load(SITE), scenario, tmp_path, tmp_path / "t", 1, 1.0, time.monotonic, time.time)


class Still:
    """A node that only notes how it is moved; nothing is wired to its loops at first."""

    name = "n1"

    def __init__(self) -> None:
        self.levels: dict[str, Value] = {f"n1:loop{n}": "cut" for n in (1, 2, 3)}
        self.moves: Counter[str] = Counter()

    def move(self, point: str, value: Value) -> None:
        assert "pad" in point or self.levels.get(point, False) != value, f"{point} is {value} already"
        self.levels[point] = value
        self.moves[point.partition(":")[2]] += 1

    def offer(self, reports: list[Report]) -> None:
        assert all("flow" in report.point for report in reports)


def test_hands_move_every_input_and_never_to_where_it_is() -> None:
    node = Still()
    hands = Hands(node, 5.0, random.Random(3))  # type: ignore[arg-type]
    for tenth in range(600):
        hands.tick(tenth / 10)
    assert set(node.moves) == {f"{kind}{n}" for kind in ("loop", "contact") for n in (1, 2, 3)} | {"contact4", "pad1"}
    assert all(7 <= count <= 24 for count in node.moves.values())


def beats(free_b: list[int], rss_kib: list[int] | None = None) -> list[list[int]]:
    return [[5 * turn, *both] for turn, both in enumerate(zip(free_b, rss_kib or [12_000] * 99, strict=False), 1)]


FLAT, FALLING, GROWING = [60_000] * 40, list(range(60_000, 40_000, -500)), list(range(12_000, 14_000, 50))


@pytest.mark.parametrize(
    ("changed", "trouble"),
    [
        ({}, None),
        ({"untold": 3}, "3 moved inputs were not told, only 0 numbers given up"),
        ({"untold": 3, "lost": 5}, None),
        ({"watchdog_resets": 1}, "1 resets by the watchdog"),
        ({"beats": beats(FLAT[:3])}, "3 heartbeats, too few to judge its memory"),
        (
            {"beats": beats(FLAT, GROWING)},
            "resident memory grew",
        ),
        *(
            [({"beats": beats(list(range(60_000, 40_000, -500)))}, "free memory fell from")]
            if HERE == MICROPYTHON
            else []
        ),
    ],
)
def test_the_verdict_on_a_node_sees_each_way_to_fail(
    changed: dict[str, object], trouble: str | None, tmp_path: Path
) -> None:
    node = {"moved": 90, "untold": 0, "lost": 0, "events_lost": 0, "watchdog_resets": 0, "beats": beats(FLAT)}
    (tmp_path / "said").write_text(json.dumps({"n1": node | changed}))
    lines, troubles, _ = nodes_soak.judge(tmp_path / "said")
    assert len(lines) == 1
    assert (trouble is None and troubles == []) or (trouble is not None and trouble in troubles[0])


def test_a_simulator_that_says_nothing_of_its_nodes_is_a_trouble(tmp_path: Path) -> None:
    assert nodes_soak.judge(tmp_path / "none") == ([], ["the simulator did not say what its nodes did"], {})


def test_the_site_of_the_soak_is_a_good_site(tmp_path: Path) -> None:
    site = load(nodes_soak.write_site(tmp_path, 8))
    assert len(site.buses) == 8 and not not_on_board(sensor.point for sensor in site.sensors.values())


@pytest.mark.mosquitto
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_nodes_under_chaos_lose_nothing_that_they_did_not_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    code, out, said = run_chaos(tmp_path_factory.mktemp("c"), "--vm-nodes", "2", "--seconds", "30", *SEED)
    assert code == 0, f"{HERE}: {out}"
    assert said["did"]["gateway kills"] == 1 and said["did"]["line cut"] >= 1
    verdict, nodes = said["verdict"], said["nodes"]
    assert verdict["missing"] == verdict["wrong"] == verdict["twice"] == verdict["unfounded"] == 0
    assert verdict["arrived"] > 60
    assert all(node["moved"] > 10 and not node["events_lost"] for node in nodes.values())

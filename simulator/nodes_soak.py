"""What `linli chaos --vm-nodes N` has of its own: a site of N nodes, and whether their memory stayed as it was."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from gateway.contract import Json
from simulator.faults import Fault
from simulator.firmware import MICROPYTHON, interpreter

NODES_MAX = 32
SCENARIO = "nodes"
FREE_SLACK_B, RSS_SLACK_KIB = 2048, 1024
_EARLY_S, _EARLY_SHARE = 300, 6  # the first figure is taken after 5 minutes, or a sixth of a shorter run
_BEATS = 2  # a figure is the median of so many

# Once in each window: in half an hour a dozen kills of the gateway, and a few of what is behind it.
FAULTS = (
    Fault(do="kill", on="gateway", every_s=100, for_s=1),
    Fault(do="kill", on="broker", every_s=300, for_s=3),
    Fault(do="cut", on="relay", every_s=200, for_s=2),
)

_HEAD = """\
schema = 1
site = { id = "nodes", gateway = "nodes-a", name = "节点 nodes", region = "310115000000", tz = "Asia/Shanghai" }
clock = { trust = "system" }
uplink = { broker = "mqtt://127.0.0.1:1883", root = "linli", confirm = "city" }
"""
_NODE = """\
bus.{name} = {{ kind = "node", port = "link:{name}", node = {{ loop_hold_ms = 300 }} }}
sensor."{name}/flow" = {{ from = "{name}:flow1" }}
sensor."{name}/cord" = {{ from = "{name}:loop1", kind = "pull-cord", wiring = "supervised-2k2-8k2" }}
sensor."{name}/door" = {{ from = "{name}:contact1", kind = "door" }}
"""


def write_site(folder: Path, nodes: int) -> Path:
    """A site file in `folder`: n1 to nN, each a board as drivers/node/boards/pico.py has it."""
    path = folder / "nodes.toml"
    path.write_text(_HEAD + "".join(_NODE.format(name=f"n{number}") for number in range(1, nodes + 1)))
    return path


def memory(beats: list[Any]) -> Json:
    """Free heap and resident memory early and at the end: medians of heartbeats (uptime_s, free_b, rss_kib)."""
    ends_s = beats[-1][0] if beats else 0
    early_s = min(_EARLY_S, ends_s // _EARLY_SHARE)
    early = [beat for beat in beats if beat[0] >= early_s][:_BEATS]
    late = beats[-_BEATS:]
    if len(late) < _BEATS or early[-1][0] >= late[0][0]:
        return {"beats": len(beats)}
    said: Json = {"beats": len(beats), "early_s": early[0][0], "late_s": late[-1][0]}
    for at, name in ((1, "free_b"), (2, "rss_kib")):
        said |= {
            f"early_{name}": round(median(b[at] for b in early)),
            f"late_{name}": round(median(b[at] for b in late)),
        }
    return said


def judge(path: Path) -> tuple[list[str], list[str], Json]:
    """(lines for a person, troubles, everything by node) of what the simulator said of its nodes at the end."""
    try:
        nodes: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return [], ["the simulator did not say what its nodes did"], {}
    lines, troubles, all_said = [], [], {}
    for name, node in nodes.items():
        said = memory(node.pop("beats"))
        all_said[name] = node | said
        lines.append(_line(name, node, said))
        troubles += [f"{name}: {trouble}" for trouble in _troubles(node, said)]
    return lines, troubles, all_said


def _line(name: str, node: Any, said: Any) -> str:
    free = f"{said.get('early_free_b', '?')} -> {said.get('late_free_b', '?')} B free"
    rss = f"{said.get('early_rss_kib', '?')} -> {said.get('late_rss_kib', '?')} KiB resident"
    gave = f"gave up {node['lost']} numbers ({node['events_lost']} events)"
    return f"{name:<8} {node['moved']} inputs moved, {node['untold']} untold, {gave}; {free}, {rss}"


def _troubles(node: Any, said: Any) -> list[str]:
    found = []
    if node["untold"] > node["lost"]:
        found.append(f"{node['untold']} moved inputs were not told, only {node['lost']} numbers given up")
    if node["watchdog_resets"]:
        found.append(f"{node['watchdog_resets']} resets by the watchdog")
    if "late_s" not in said:
        return [*found, f"{said['beats']} heartbeats, too few to judge its memory"]
    if said["early_free_b"] - said["late_free_b"] > FREE_SLACK_B and interpreter()[0] == MICROPYTHON:
        found.append(f"free memory fell from {said['early_free_b']} to {said['late_free_b']} B")
    if said["late_rss_kib"] - said["early_rss_kib"] > RSS_SLACK_KIB:
        found.append(f"resident memory grew from {said['early_rss_kib']} to {said['late_rss_kib']} KiB")
    return found

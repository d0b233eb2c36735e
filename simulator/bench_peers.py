"""The same work done by others: the yardstick and the peers of a bench folder, in turn with ours.

The bench folder ($LINLI_BENCH, else `bench` in the folder `shared` beside this project) has a harness and a runner for
each: 200 sensors, closed loop of 5,000 readings under way, and 5,000 a second. Their input is MQTT, one JSON reading a
message, where ours is frames on a serial line; their load and their brokers share the same two cores. What they need is
installed below $PEERBENCH (docs/bench.md); who is not there is left out, and said.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from simulator.bench_alarms import STEADY_PER_S, steady
from simulator.bench_flow import flat_out
from simulator.bench_limits import Limits
from simulator.bench_rig import BenchError, Rig
from simulator.bench_table import Figure, median
from simulator.broker import HOST, free_port, mosquitto_path
from simulator.processes import ROOT

ROUNDS = 3
YARDSTICK = "run_floor.py"
PORTS = 4  # a runner takes this many in a row
_ANSWER_S = 240.0
_END_S = 20.0
_STEADY_S = 10.0


class Peer(NamedTuple):
    """runner: a file of the bench folder. needs: what must be there below the peers' folder. most: readings at most."""

    runner: str
    variant: str
    needs: str
    most: int
    said: str


PEERS = {
    "yardstick": Peer(YARDSTICK, "plain", "h/bin/python", 200_000, "the yardstick, a gateway of 130 lines"),
    "yardstick_onnx": Peer(YARDSTICK, "onnx", "h/bin/python", 200_000, "the yardstick with its model"),
    "bridge": Peer("run_mosquitto.py", "autosave1", "h/bin/python", 100_000, "mosquitto's bridge, saved each second"),
    "node_red": Peer("run_nodered.py", "queue", "nr/node_modules/node-red/red.js", 30_000, "Node-RED, queue on disk"),
    "tb_gateway": Peer("run_tbgateway.py", "sqlite", "tb/bin/python", 30_000, "thingsboard-gateway, SQLite storage"),
}
COMPARED = ("throughput", "cpu_s_per_million", "cpu_s_per_million_5k", "rss_mib")
NAMES = tuple(f"{what}_beside_{name}" for name in PEERS for what in COMPARED)


def figures(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    """Ours and theirs in turn, ROUNDS times (quick: once, the yardstick alone). Medians; limit: theirs."""
    bench, installed = bench_folder(), peers_folder()
    wanted = {name: peer for name, peer in PEERS.items() if not quick or peer.runner == YARDSTICK}
    reasons = {name: why_not(peer, bench, installed) for name, peer in wanted.items()}
    for why in dict.fromkeys(filter(None, reasons.values())):
        without = ", ".join(name for name in wanted if reasons[name] == why)
        print(f"bench: nothing beside {without}: {why}", file=sys.stderr)
    there = {name: peer for name, peer in wanted.items() if not reasons[name]}
    if not there:
        return []
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in (*there, "ours", "ours_onnx")}
    for number in range(1 if quick else ROUNDS):
        place = folder / str(number)
        place.mkdir(parents=True)
        seen["ours"].append(ours(place / "ours", limits))
        if "yardstick_onnx" in there:
            seen["ours_onnx"].append(ours(place / "model", limits, model=True))
        for name, peer in there.items():
            try:
                seen[name].append(theirs(peer, bench, installed, place / name))
            except BenchError as error:  # theirs alone: the others' rows stand
                print(f"bench: round {number + 1} without {name}: {error}", file=sys.stderr)
    return [figure for name in there if seen[name] for figure in rows(name, seen)]


def rows(name: str, seen: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """seen: {"ours", "ours_onnx" and peers: for each round {of COMPARED, and "lost"}}."""
    mine = seen["ours_onnx" if name.endswith("_onnx") else "ours"]
    lost = sum(each["lost"] for each in seen[name])
    said = PEERS[name].said + (f"; it lost {lost:.0f} readings" if lost else "")
    unit = {"throughput": "readings/s", "rss_mib": "MiB"}
    return [
        Figure(
            f"{what}_beside_{name}", median([each[what] for each in mine]), unit.get(what, "s"),
            median([each[what] for each in seen[name]]), said,
        )
        for what in COMPARED
    ]  # fmt: skip


def bench_folder() -> Path:
    """Where the harness lies, or would."""
    return Path(os.environ.get("LINLI_BENCH") or ROOT.parent / "shared" / "bench").absolute()


def peers_folder() -> Path:
    """Where what the peers need is installed, or would be."""
    return Path(os.environ.get("PEERBENCH") or Path(tempfile.gettempdir()) / "peerbench").absolute()


def why_not(peer: Peer, bench: Path, installed: Path) -> str:
    """Why this one cannot be measured; "" when it can."""
    if not (bench / YARDSTICK).is_file():
        return f"no {YARDSTICK} in {bench}; name the harness's folder in LINLI_BENCH"
    if not (bench / peer.runner).is_file():
        return f"no {peer.runner} in {bench}"
    for needed in dict.fromkeys(("h/bin/python", peer.needs)):
        if not (installed / needed).exists():
            return f"no {needed} in {installed}; docs/bench.md says how to install it, --peers names another folder"
    if not mosquitto_path():
        return "no mosquitto on PATH"
    return "no node on PATH" if peer.needs.endswith(".js") and not shutil.which("node") else ""


def ours(folder: Path, limits: Limits, *, model: bool = False) -> dict[str, float]:
    """{COMPARED: ours}, as the rows of the same names have them, but shorter."""
    found = {figure.name.removesuffix("_model"): figure.value for figure in flat_out(
        folder / "most", limits, quick=True, model=model)}  # fmt: skip
    with Rig(folder / "steady", model=model) as rig:
        rig.await_readings()
        cpu_s, _ = steady(rig, _STEADY_S)
    return {**{what: found[what] for what in COMPARED if what in found}, "cpu_s_per_million_5k": cpu_s, "lost": 0}


def theirs(peer: Peer, bench: Path, installed: Path, folder: Path) -> dict[str, float]:
    """{COMPARED and "lost": what its runner found}."""
    folder.mkdir()
    out, log = folder / "results.jsonl", folder / "runner.log"
    command = [str(installed / "h/bin/python"), str(bench / peer.runner), "--variant", peer.variant, "--reps", "1"]
    command += ["--what", f"rate:{STEADY_PER_S}:{_STEADY_S:.0f},max:{peer.most}"]
    command += ["--out", str(out), "--base", str(free_ports())]
    environment = os.environ | {"PEERBENCH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"TBGW": str(installed / "tb"), "NODERED": str(installed / "nr")}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/sbin"
    with log.open("wb") as file:
        runner = subprocess.Popen(command, stdout=file, stderr=file, cwd=bench, env=environment)
    try:
        runner.wait(_ANSWER_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _end(runner)
    lines = out.read_text().splitlines() if out.exists() else []
    found = results(lines)
    if missing := [what for what in COMPARED if what not in found]:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise BenchError(f"{peer.runner} --variant {peer.variant}: no {', '.join(missing)}; it said last:\n{tail}")
    return found


def results(lines: list[str]) -> dict[str, float]:
    """{COMPARED and "lost"} from the harness's lines, as far as they say it."""
    found: dict[str, float] = {"lost": 0.0}
    for line in lines:
        said = json.loads(line)
        if said["what"].startswith("max"):
            found |= {"throughput": said["rate"], "cpu_s_per_million": said["cpu_s_per_million"]}
        else:
            found["cpu_s_per_million_5k"] = said["cpu_s_per_million"]
        found["rss_mib"] = max(found.get("rss_mib", 0.0), said["peak_rss_mib"])
        found["lost"] += said["lost"]
    return found


def _end(runner: "subprocess.Popen[bytes]") -> None:
    """Asked first: it ends its own children then."""
    for ask in (runner.terminate, runner.kill):
        if runner.poll() is None:
            ask()
            try:
                runner.wait(_END_S)
            except subprocess.TimeoutExpired:
                continue


def free_ports() -> int:
    """The first of PORTS in a row that were free a moment ago. Raises BenchError."""
    for _ in range(20):
        first = free_port()
        try:
            for port in range(first, first + PORTS):
                with socket.socket() as probe:
                    probe.bind((HOST, port))
        except (OSError, OverflowError):
            continue
        return first
    raise BenchError(f"found no {PORTS} free ports in a row in 20 tries")

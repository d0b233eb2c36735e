"""What the demonstration centre costs the card in a day, with its city and without (promise P5).

The real `linli run` on the site of `linli demo`, at the natural rate of a calm morning: people, water, doors, the
Modbus line. Three gateways with the city there and three without run side by side and differ in `commit_every_s`, so
that what a day writes anyhow (a) and what a commit costs (b) can be told apart. The first of each is the site as it is;
as root it has a disk of its own.
"""

import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway.home import DATABASE
from simulator.bench_rig import START_S, BenchError, answer
from simulator.bench_table import Figure
from simulator.bench_written import Seen, Written, alone, law, own_disk
from simulator.broker import HOST, Broker
from simulator.processes import Died, Interrupted, Processes
from simulator.stage import SITE, Stage

COMMIT_EVERY_S = (30, 10, 3)
SECONDS, SETTLE_S = 3600.0, 120.0  # a checkpoint comes about every two hours: shorter windows count one too many
BUDGET_MB = 100.0
_LINGER_S = 60.0


def site_text(commit_every_s: float) -> str:
    """The demonstration's site with another `commit_every_s`. Raises BenchError."""
    text = SITE.read_text()
    if re.search(r"(?m)^\[?store\b", text):
        raise BenchError(
            f"{SITE}: found settings of the store, expected none: what is measured is what a box does by itself"
        )
    return f"{text}store = {{ commit_every_s = {commit_every_s} }}\n"


def figures(folder: Path, seconds: float = SECONDS) -> list[Figure]:
    try:
        with ExitStack() as stack:
            centres = [
                _open(folder / f"{city:d}-{every_s}", every_s, stack, seconds, city=city)
                for city in (True, False)
                for every_s in COMMIT_EVERY_S
            ]
            _wait(centres, SETTLE_S)
            for _, written in centres:
                written.begin()
            _wait(centres, seconds)
            seen = [written.end() for _, written in centres]
    except (Died, Interrupted) as error:
        raise BenchError(str(error) or "ended early") from None
    there, away = seen[: len(COMMIT_EVERY_S)], seen[len(COMMIT_EVERY_S) :]
    return [*rows("card", there, "the city there"), *rows("card_away", away, "the city away")]


def _open(
    folder: Path, commit_every_s: float, stack: ExitStack, seconds: float, *, city: bool
) -> tuple[Processes, Written]:
    """One centre at work until the stack ends."""
    folder.mkdir(parents=True)
    site = folder / "site.toml"
    site.write_text(site_text(commit_every_s))
    disk = own_disk(folder, stack) if commit_every_s == COMMIT_EVERY_S[0] else None
    url = f"mqtt://{HOST}:1"  # where nobody listens
    if city:
        url = stack.enter_context(Broker(folder / "broker")).url
    processes = stack.enter_context(Processes(folder))
    stage = Stage(folder, processes, time.monotonic, site)
    if disk:
        stage.state = disk.path / "state"
    if city:
        stage.start_city(url)
    gateway = stage.start_gateway(url)
    answer(stage.state, START_S)
    simulator = stage.start_simulator("quiet", SETTLE_S + seconds + _LINGER_S, seed=1)
    simulator.wanted = False  # its end is not a fault
    return processes, Written(gateway.pid, stage.state / DATABASE, disk)


def _wait(centres: Sequence[tuple[Processes, Written]], seconds: float) -> None:
    """Raises Died, Interrupted."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        centres[-1][0].wait(min(1.0, max(0.0, until_s - time.monotonic())))  # the last one hears the signals
        for processes, _ in centres:
            processes.watch()


def rows(name: str, seen: list[Seen], when: str) -> list[Figure]:
    """seen: in the order of COMMIT_EVERY_S."""
    as_is = seen[0]
    device = []
    if as_is.device_b is not None:
        what = f"promised; {when}; at a disk of its own"
        device = [Figure(f"{name}_device_mb_a_day", round(as_is.device_mb_a_day, 1), "MB", BUDGET_MB, what)]
    return [
        Figure(f"{name}_mb_a_day", round(as_is.mb_a_day, 1), "MB", BUDGET_MB, f"promised; {when}"),
        *device,
        *law(name, seen),
        Figure(f"{name}_commits_a_day", round(as_is.commits_a_day), "commits"),
    ]


if __name__ == "__main__":
    sys.exit(alone(figures, SECONDS, __doc__))

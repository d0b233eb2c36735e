"""The load of the benchmarks, a process of its own: a node on a pseudo-terminal, one reading a frame, values 0, 1 ...

Prints, as JSON lines, when it began and when all of it was durable (CLOCK_MONOTONIC seconds).
"""

import argparse
import json
import os
import select
import sys
import time
import tty
from pathlib import Path

from drivers.node_frame import DATA
from drivers.node_side import NodeSide

SENSORS = 200
_CHUNK_B = 8192
_TICK_S = 0.002


def serve(link: Path, count: int, rate: float, ring: int, seconds: float, boot: int) -> bool:
    """rate: readings a second, 0 for as fast as the ring allows. False when time ran out before all was durable."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    draft = link.with_suffix(".new")
    draft.symlink_to(os.ttyname(slave))
    draft.replace(link)
    node = NodeSide(boot, ring, f"bench;flow*{SENSORS}", lambda: time.monotonic_ns() // 1_000_000)
    made, unsent, began_s, end_s = 0, b"", 0.0, time.monotonic() + seconds
    while node.durable < count and time.monotonic() < end_s:
        now_s = time.monotonic()
        if node.received or node.undurable == 0:
            began_s = began_s or now_s
            due = min(count, int((now_s - began_s) * rate) + 1) if rate else count
            while made < due and node.add(DATA, made % SENSORS, float(made)) is not None:
                made += 1
        unsent = unsent or node.outgoing(_CHUNK_B)
        readable, writable, _ = select.select([master], [master] if unsent else [], [], _TICK_S)
        if writable:
            try:
                unsent = unsent[os.write(master, unsent) :]
            except BlockingIOError:
                pass
        if readable:
            try:
                node.feed(os.read(master, 65536))
            except (BlockingIOError, OSError):
                pass
    print(json.dumps({"began_s": began_s, "durable_s": time.monotonic(), "durable": node.durable}), flush=True)
    return node.durable >= count


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("link", type=Path)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--ring", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--boot", type=int, default=1)
    a = parser.parse_args()
    sys.exit(0 if serve(a.link, a.count, a.rate, a.ring, a.seconds, a.boot) else 1)

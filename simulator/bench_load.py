"""The load of the benchmarks, a process of its own: a node on a pseudo-terminal, one reading a frame, values 0, 1 ...

The node's rules are NodeSide's; only its frames are made beforehand, because the load shares the machine's
cores with what it measures. Prints one JSON line: when the first frame went and when all was durable (CLOCK_MONOTONIC
seconds), and the CPU seconds that sending took.
"""

import argparse
import json
import os
import select
import sys
import time
import tty
from pathlib import Path
from typing import Any

from drivers.node_side import NodeSide
from simulator.bench_frames import SENSORS, Frames

_CHUNK_B = 8192
_TICK_S = 0.002
_BLOCK = 1024


class ReadyNode(NodeSide):
    """A node whose readings are numbers of frames that exist already."""

    def __init__(self, frames: Frames, boot: int, ring: int) -> None:
        NodeSide.__init__(self, boot, ring, f"bench;flow*{SENSORS}", lambda: time.monotonic_ns() // 1_000_000)
        self._frames = frames

    def grow(self, upto: int) -> None:
        """Measured up to this number, as far as the ring holds."""
        self.next = max(self.next, min(upto + 1, self._oldest + self.ring))

    def _item_bytes(self, seq: int, _item: Any, _now_ms: int) -> bytes:
        return self._frames.frame(seq)


def serve(link: Path, count: int, rate: float, ring: int, seconds: float, boot: int) -> bool:
    """rate: readings a second, 0 for as fast as the ring allows. False when time ran out before all was durable."""
    frames = Frames(boot)
    if not rate:
        frames.make(count)
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    draft = link.with_suffix(".new")
    draft.symlink_to(os.ttyname(slave))
    draft.replace(link)
    node = ReadyNode(frames, boot, ring)
    made = 0
    unsent, began_s, end_s = b"", 0.0, time.monotonic() + seconds
    while node.durable < count and time.monotonic() < end_s:
        if began_s:
            due = min(count, int((time.monotonic() - began_s) * rate) + 1) if rate else count
            if rate and due > made:
                made = min(count, due + _BLOCK)
                frames.make(made)
            node.grow(due)
        unsent = unsent or node.outgoing(_CHUNK_B)
        readable, writable, _ = select.select([master], [master] if unsent else [], [], _TICK_S)
        if readable:
            try:
                node.feed(os.read(master, 65536))
            except (BlockingIOError, OSError):
                pass
            if not began_s:  # the gateway speaks first: the line is open
                began_s, cpu_s = time.monotonic(), time.process_time()
        if writable:
            try:
                unsent = unsent[os.write(master, unsent) :]
            except BlockingIOError:
                pass
    spent_s = time.process_time() - cpu_s if began_s else 0.0
    said = {"began_s": began_s, "durable_s": time.monotonic(), "durable": node.durable, "cpu_s": spent_s}
    print(json.dumps(said), flush=True)
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

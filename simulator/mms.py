"""A queue with Poisson arrivals, exponential services and s servers, and how far LES and QL are from what came.

In heavy traffic "as long as the last one waited" (LES) has about twice the mean square error of queue length (QL):
Ibrahim and Whitt, "Real-Time Delay Estimation Based on Delay History", M&SOM 11(3), 2009. The estimates are the
gateway's own.
"""

import argparse
import heapq
import random
from collections import deque
from typing import NamedTuple

from gateway.contract import Label
from gateway.hall_clock import HallClock
from gateway.lines import Hours, Lines
from gateway.stands import Stands
from gateway.visits import Visit
from gateway.waiting import Estimate, Line, les, ql

MEAN_SERVICE_S = 200.0
WARM = 2000  # customers before the first that counts
TARGET, TOLERANCE = 2.0, 0.2


class Errors(NamedTuple):
    """n: customers who had to wait and were told something. Mean square errors in s²."""

    n: int
    les_s2: float
    ql_s2: float

    @property
    def ratio(self) -> float:
        return self.les_s2 / self.ql_s2


def add_mms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mms", action="store_true", help="LES against QL in an M/M/s queue instead")
    parser.add_argument("--servers", type=int, default=10, metavar="S", help="of it (default: %(default)s)")
    parser.add_argument("--load", type=float, default=0.95, metavar="RHO", help="of it (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=200_000, metavar="N", help="(default: %(default)s)")


def run_mms(args: argparse.Namespace) -> int:
    found = simulated(args.servers, args.load, args.customers, args.seed)
    print(f"M/M/{args.servers}, load {args.load:g}, {found.n} customers who waited")
    print(
        f"RMSE of LES {found.les_s2**0.5:.1f} s, of QL {found.ql_s2**0.5:.1f} s; MSE(LES) / MSE(QL) = {found.ratio:.3f}"
    )
    return 0 if abs(found.ratio - TARGET) <= TOLERANCE else 1


class _Listener:
    """A forecast that only notes what a ticket drawn now would be told."""

    def __init__(self) -> None:
        self.squares_s2 = [0.0, 0.0]
        self.n = 0
        self.counting = False

    def expect(self, line: Line) -> Estimate | None:
        return Estimate(0.0, 0.0, 0.0)

    def learn(self, line: Line, told: Estimate, waited_s: float) -> None:
        if not self.counting or waited_s <= 0:
            return
        known = line._replace(service_s=MEAN_SERVICE_S)  # as the estimator of the paper: s and the mean are known
        last_s, length_s = les(known), ql(known)
        if last_s is not None and length_s is not None:
            self.n += 1
            self.squares_s2[0] += (last_s - waited_s) ** 2
            self.squares_s2[1] += (length_s - waited_s) ** 2


def simulated(servers: int, load: float, customers: int, seed: int) -> Errors:
    """Tickets and calls through the gateway's lines and windows, which make what the estimates are asked about."""
    dice = random.Random(f"mms/{seed}")
    now_s = 0.0
    windows = {str(i): ["A"] for i in range(1, servers + 1)}
    clock = HallClock(lambda: Label(1, now_s, None, "unsure", None, "00000000"), "UTC", {}, _forget)
    stands, listener = Stands(windows, clock, {}, _forget), _Listener()
    lines = Lines(["A"], stands, clock, listener)
    idle, busy = list(windows), []
    line: deque[tuple[str, float]] = deque()

    def call(ticket: str, drawn_s: float) -> None:
        window = idle.pop()
        visit = Visit("A", "A")
        stands.hear(window, "", "called", clock.at(now_s), ticket)
        lines.left(ticket, "A")
        lines.called(ticket, visit, now_s - drawn_s, now_s)
        heapq.heappush(busy, (now_s + dice.expovariate(1 / MEAN_SERVICE_S), window, ticket))

    for window in windows:
        stands.hear(window, "", "opened", clock.at(now_s), "")
    arrives_s = 0.0
    for number in range(customers):
        listener.counting = number >= WARM
        arrives_s += dice.expovariate(servers * load / MEAN_SERVICE_S)
        while busy and busy[0][0] <= arrives_s:
            now_s, window, ticket = heapq.heappop(busy)
            stands.hear(window, "", "served", clock.at(now_s), ticket)
            idle.append(window)
            if line:
                call(*line.popleft())
        now_s = arrives_s
        visit = Visit("A", "A", issued=clock.at(now_s))
        lines.drawn(str(number), visit, now_s, Hours())
        line.append((str(number), now_s))
        if idle:
            call(*line.popleft())
    return Errors(listener.n, *(square_s2 / listener.n for square_s2 in listener.squares_s2))


def _forget(key: str, value: object) -> None:
    pass

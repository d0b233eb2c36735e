"""What MicroPython's `time` and `gc` have and CPython's have not. The counter wraps as on a board, after 2^30 ms."""

import gc
import time

_PERIOD = 1 << 30


def _ticks_ms() -> int:
    return time.monotonic_ns() // 1_000_000 % _PERIOD


def _ticks_diff(later: int, earlier: int) -> int:
    return (later - earlier + _PERIOD // 2) % _PERIOD - _PERIOD // 2


def install() -> None:
    for module, name, value in (
        (time, "ticks_ms", _ticks_ms),
        (time, "ticks_diff", _ticks_diff),
        (time, "sleep_ms", lambda ms: time.sleep(ms / 1000)),
        (gc, "mem_free", lambda: 0),
    ):
        setattr(module, name, value)


install()

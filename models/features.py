"""Numbers to the model's input: one way for training and for running.

A window is WINDOW_MIN one-minute mean flows, m3/s, oldest first; NaN is a minute nobody measured, which is not zero.
Importing this file costs no numpy: a gateway without models does not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

WINDOW_MIN = 60
KNOWN_MIN = 30
"""A window is scored when its newest minute and at least this many in all were measured."""

GAP_MIN = 10
"""After more missing minutes in a row than this, what came before is forgotten and the window starts anew."""

ZERO_M3_S = 1e-6
"""Below 1 ml/s counts as no flow: meters creep, and the training data resolves 2 ml/s."""

_LOWS_MIN = (5, 10, 15, 20, 30, 45, 60)
_MEANS_MIN = (5, 15, 30, 60)
_SPREADS_MIN = (15, 30)

NAMES: tuple[str, ...] = (
    *(f"low_{k}" for k in _LOWS_MIN),
    *(f"mean_{k}" for k in _MEANS_MIN),
    *(f"spread_{k}" for k in _SPREADS_MIN),
    "floor_30",
    "zero_share",
    "since_zero",
)


def features(windows: ArrayLike) -> NDArray[np.float32]:
    """float (n, WINDOW_MIN) m3/s to float32 (n, len(NAMES)).

    low_k, mean_k: ln(1 + ml/s) of the smallest and of the mean minute of the last k.
    spread_k: standard deviation over mean of the last k minutes. floor_30: smallest over mean of the last 30.
    zero_share: share of measured minutes without flow. since_zero: share of the window since the last of them.
    The newest minute must be measured; the caller sees to it (see KNOWN_MIN).
    """
    import numpy as np

    flow = np.array(windows, np.float64, ndmin=2) * 1e6  # ml/s, so that ln(1 + x) bends where leaks are
    if flow.shape[1] != WINDOW_MIN:
        raise ValueError(f"windows of {flow.shape[1]} minutes; expected {WINDOW_MIN}")
    known = np.isfinite(flow)
    dry = known & (flow < ZERO_M3_S * 1e6)
    flow[~known | dry] = 0.0

    def low(k: int) -> NDArray[np.float64]:
        return np.where(known, flow, np.inf)[:, -k:].min(axis=1)

    def mean(k: int) -> NDArray[np.float64]:
        return flow[:, -k:].sum(axis=1) / known[:, -k:].sum(axis=1)

    def spread(k: int) -> NDArray[np.float64]:
        middle = mean(k)
        away = np.where(known, flow - middle[:, None], 0.0)[:, -k:]
        return np.sqrt((away**2).sum(axis=1) / known[:, -k:].sum(axis=1)) / (middle + 1.0)

    columns = [
        *(np.log1p(low(k)) for k in _LOWS_MIN),
        *(np.log1p(mean(k)) for k in _MEANS_MIN),
        *(spread(k) for k in _SPREADS_MIN),
        low(30) / (mean(30) + 1.0),
        dry.sum(axis=1) / known.sum(axis=1),
        np.where(dry.any(axis=1), np.argmax(dry[:, ::-1], axis=1), WINDOW_MIN) / WINDOW_MIN,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def windows(minutes: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Every window of a long series that would be scored: (index of its newest minute, (m, WINDOW_MIN) m3/s).

    minutes: float (n,) m3/s, NaN missing. Follows KNOWN_MIN and GAP_MIN, as the gateway's detector does one by one.
    """
    import numpy as np

    flow = np.asarray(minutes, np.float64)
    at = np.arange(len(flow))
    known = np.isfinite(flow)
    silent_min = at - np.maximum.accumulate(np.where(known, at, -1))
    forgotten = np.maximum.accumulate(np.where(silent_min > GAP_MIN, at, -1))
    padded = np.concatenate((np.full(WINDOW_MIN - 1, np.nan), flow))
    every = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_MIN).copy()
    every[at[:, None] - np.arange(WINDOW_MIN)[::-1] <= forgotten[:, None]] = np.nan
    scored = known & (np.isfinite(every).sum(axis=1) >= KNOWN_MIN)
    return np.flatnonzero(scored), every[scored]

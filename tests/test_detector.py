"""Windows to scores: which minutes count as measured, when a window is scored, what a broken model may not break."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.detector import Detector
from gateway.windows import LATE_S
from models import features
from models.session import ModelError

ML = 1e-6
NAN = math.nan


class Recorder:
    """A model that keeps the windows it was given and answers what it was told."""

    name, version = "recorder", "1.0.0"

    def __init__(self, answer: float = 0.5) -> None:
        self.answer = answer
        self.calls: list[list[list[float]]] = []

    def score(self, windows: Sequence[Sequence[float]]) -> list[float]:
        self.calls.append([list(window) for window in windows])
        return [self.answer] * len(windows)

    def because(self, window: Sequence[float]) -> list[tuple[str, float]]:
        return [("low_30", self.answer)]


def feed_minutes(detector: Detector, flows: Sequence[float], from_min: int = 0, every_s: int = 30) -> list[float]:
    """Feed one flow a minute (NaN: the sensor is silent), tick after each; the scores of sensor "s" in order."""
    scores = []
    for minute, flow in enumerate(flows, from_min):
        if not math.isnan(flow):
            for second in range(0, 60, every_s):
                detector.feed("s", flow, minute * 60.0 + second)
        scores.extend(detector.tick((minute + 1) * 60.0 + LATE_S).values())
    return scores


def test_a_window_is_scored_once_half_an_hour_of_it_was_measured() -> None:
    model = Recorder()
    detector = Detector(model, ["s"])
    assert feed_minutes(detector, [2 * ML] * (features.KNOWN_MIN - 1)) == []
    assert detector.score("s") is None
    assert feed_minutes(detector, [3 * ML], from_min=features.KNOWN_MIN - 1) == [0.5]
    assert detector.score("s") == 0.5
    (window,) = model.calls[0]
    assert all(math.isnan(minute) for minute in window[: features.WINDOW_MIN - features.KNOWN_MIN])
    assert window[features.WINDOW_MIN - features.KNOWN_MIN :] == pytest.approx([2 * ML] * 29 + [3 * ML])


def test_fifty_sensors_are_scored_in_one_run_a_minute() -> None:
    model = Recorder()
    sensors = [f"flat-{n}/flow" for n in range(50)]
    detector = Detector(model, sensors)
    for minute in range(40):
        for sensor in sensors:
            detector.feed(sensor, 0.0, minute * 60.0)
        for second in range(1, 60, 7):
            detector.tick(minute * 60.0 + second)
    assert [len(call) for call in model.calls] == [50] * len(model.calls)
    assert len(model.calls) == 40 - features.KNOWN_MIN


def test_a_reading_a_minute_is_enough_and_one_in_five_minutes_is_not() -> None:
    often, rare = Recorder(), Recorder()
    detector_often, detector_rare = Detector(often, ["s"]), Detector(rare, ["s"])
    for minute in range(70):
        detector_often.feed("s", 0.0, minute * 60.0 + 59.0)
        if minute % 5 == 0:
            detector_rare.feed("s", 0.0, minute * 60.0 + 59.0)
        detector_often.tick(minute * 60.0 + 60 + LATE_S)
        detector_rare.tick(minute * 60.0 + 60 + LATE_S)
    assert often.calls[-1][0] == [0.0] * features.WINDOW_MIN
    assert rare.calls == []


def test_a_silent_minute_is_missing_and_not_dry() -> None:
    model = Recorder()
    detector = Detector(model, ["s"])
    feed_minutes(detector, [5 * ML] * 40 + [NAN] * 5)
    assert detector.score("s") is None, "nobody measured the newest minute"
    feed_minutes(detector, [5 * ML], from_min=45)
    (window,) = model.calls[-1]
    assert detector.score("s") == 0.5
    # The last value holds 90 s after the reading at :30, so of five silent minutes the first counts.
    assert [math.isnan(minute) for minute in window[-6:]] == [False, True, True, True, True, False]
    assert min(minute for minute in window if not math.isnan(minute)) == pytest.approx(5 * ML)


def test_after_a_long_gap_the_window_starts_anew() -> None:
    model = Recorder()
    detector = Detector(model, ["s"])
    feed_minutes(detector, [5 * ML] * 60)
    scored = len(model.calls)
    from_min = 60 + features.GAP_MIN + 5
    assert feed_minutes(detector, [0.0] * (features.KNOWN_MIN - 1), from_min) == []
    assert feed_minutes(detector, [0.0], from_min + features.KNOWN_MIN - 1) == [0.5]
    assert len(model.calls) == scored + 1
    assert 5 * ML not in model.calls[-1][0]


def test_a_gap_that_spans_a_restart_counts_whole() -> None:
    first, second = Detector(Recorder(), ["s"]), Detector(Recorder(), ["s"])
    feed_minutes(first, [5 * ML] * 50 + [NAN] * features.GAP_MIN)
    second.restore(first.state(), mono_s=60 * 60.0 + 6)
    assert feed_minutes(second, [NAN] * 3 + [0.0] * 5, from_min=60) == []


def test_a_reading_just_before_the_full_minute_may_come_just_after_it() -> None:
    model = Recorder()
    detector = Detector(model, ["s"])
    detector.restore({"s": {"end_s": 3600.0, "minutes": [0.0] * 60}}, mono_s=3601.0)
    detector.feed("s", 1 * ML, 3601.0)
    assert detector.tick(3661.0) == {"s": 0.5}, "of the minute before: the newest is open for late readings"
    detector.feed("s", 60 * ML, 3659.0)
    detector.tick(3660.0 + LATE_S)
    assert model.calls[-1][0][-1] == pytest.approx((58 * 1 + 60) / 59 * ML)


def test_a_month_of_silence_is_forgotten() -> None:
    detector = Detector(Recorder(), ["s"])
    feed_minutes(detector, [0.0] * 60)
    detector.feed("s", 0.0, 30 * 86_400.0)
    assert detector.state() == {}
    assert feed_minutes(detector, [0.0] * features.KNOWN_MIN, from_min=30 * 1440)[-1] == 0.5


def test_late_readings_and_those_that_are_no_number_change_no_closed_minute() -> None:
    model = Recorder()
    detector = Detector(model, ["s"])
    feed_minutes(detector, [2 * ML] * 40)
    detector.feed("s", 900 * ML, 39 * 60.0)  # from a line that was cut: its minute is closed
    feed_minutes(detector, [2 * ML], from_min=40)
    assert max(model.calls[-1][0][-10:]) == pytest.approx(2 * ML)
    detector.feed("s", NAN, 41 * 60.0)
    detector.feed("s", 2 * ML, 41 * 60.0 + 50)
    assert detector.tick(42 * 60.0 + LATE_S) == {}, "a minute with a reading that is no number is missing"
    feed_minutes(detector, [-4 * ML], from_min=42, every_s=1)
    assert model.calls[-1][0][-1] == 0.0, "water that runs back is no leak"


def test_a_sensor_without_model_is_ignored() -> None:
    detector = Detector(Recorder(), ["s"])
    detector.feed("other", 1.0, 0.0)
    assert detector.tick(1000.0) == {}
    assert detector.score("other") is None


@pytest.mark.parametrize("answer", [NAN, 1.2, -0.1])
def test_a_model_that_answers_nonsense_is_taken_out_and_readings_go_on(answer: float) -> None:
    model = Recorder(answer)
    detector = Detector(model, ["s"])
    assert feed_minutes(detector, [0.0] * 60) == []
    assert len(model.calls) == 1, "once is enough"
    assert "recorder is taken out" in detector.fault
    assert str(answer) in detector.fault
    assert detector.score("s") is None


def test_a_model_that_fails_is_taken_out_and_its_old_score_with_it() -> None:
    class Breaks(Recorder):
        def score(self, windows: Sequence[Sequence[float]]) -> list[float]:
            if len(self.calls) == 3:
                raise ModelError("found, expected, do")
            return super().score(windows)

    detector = Detector(Breaks(), ["s"])
    assert feed_minutes(detector, [0.0] * 60) == [0.5] * 3
    assert detector.score("s") is None
    assert detector.fault == "The model recorder is taken out: found, expected, do"


def test_windows_survive_a_restart_as_json() -> None:
    flows = [(minute % 7) * ML for minute in range(50)]
    flows[20] = flows[21] = flows[22] = NAN
    before, after = Recorder(), Recorder()
    first, second = Detector(before, ["s"]), Detector(after, ["s"])
    feed_minutes(first, flows)
    kept = json.loads(json.dumps(first.state(), allow_nan=False))
    second.restore(kept, mono_s=50 * 60.0 + 6)
    assert second.state() == first.state()
    feed_minutes(first, [9 * ML] * 3, from_min=50)
    feed_minutes(second, [9 * ML] * 3, from_min=50)
    np.testing.assert_array_equal(after.calls, before.calls[-3:])


@pytest.mark.parametrize(
    "state",
    [
        {"other": {"end_s": 60, "minutes": [0.0]}},
        {"s": {"end_s": 1e9, "minutes": [0.0] * 60}},
        {"s": {"end_s": 60, "minutes": ["wet"]}},
        {"s": {"minutes": [0.0]}},
        {"s": None},
    ],
    ids=["unknown sensor", "another boot's future", "no numbers", "no time", "nothing"],
)
def test_kept_windows_that_do_not_fit_are_left_out(state: dict[str, object]) -> None:
    detector = Detector(Recorder(), ["s"])
    detector.restore(state, mono_s=4000.0)
    assert detector.state() == {}
    assert feed_minutes(detector, [0.0] * features.KNOWN_MIN, from_min=70) == [0.5]


def test_a_site_without_models_loads_neither_numpy_nor_onnxruntime() -> None:
    code = (
        "import sys; from gateway.detectors import Detectors; d = Detectors({}); d.feed('s', 1.0, 0.0); "
        "assert d.tick(999.0, None) == {}; print([m for m in ('numpy', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@settings(max_examples=40, deadline=None)
@given(
    flows=st.lists(
        st.one_of(st.just(0.0), st.integers(0, 300).map(lambda ml: ml * ML), st.just(NAN)), min_size=35, max_size=150
    ),
    silences=st.lists(st.tuples(st.integers(0, 140), st.integers(1, 30)), max_size=3),
    shift=st.integers(0, 100_000),
)
def test_second_by_second_gives_the_windows_of_training(
    flows: list[float], silences: list[tuple[int, int]], shift: int
) -> None:
    """Each minute holds a flow that changes at a tenth of it, or nothing at all."""
    for start, length in silences:
        flows[start : start + length] = [NAN] * len(flows[start : start + length])
    by_second = np.repeat(np.array(flows), 60) * np.tile(np.repeat(np.arange(10) / 10, 6), len(flows))
    model = Recorder()
    detector = Detector(model, ["s"])
    for second, flow in enumerate(by_second.tolist()):
        if not math.isnan(flow):
            detector.feed("s", flow, shift * 60.0 + second)
        elif second % 60 == 0:
            detector.feed("s", NAN, shift * 60.0 + second)  # ends what the last value holds
        detector.tick(shift * 60.0 + second)
    detector.tick((shift + len(flows)) * 60.0 + LATE_S)

    _, expected = features.windows(by_second.reshape(-1, 60).mean(axis=1))
    assert len(model.calls) == len(expected)
    if len(expected):
        got = np.array([call[0] for call in model.calls])
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(features.features(got), features.features(expected), rtol=1e-4, atol=1e-5)

"""Throughput, CPU, memory, bytes and start-up: readings from serial frames to a subscriber."""

import time
from collections.abc import Callable
from pathlib import Path

from gateway.detector import Detector
from gateway.windows import LATE_S
from models.features import features
from models.package import MODELS, Model, load_models
from simulator.bench_limits import MESSAGE_B, Limits
from simulator.bench_rig import Rig, Usage
from simulator.bench_table import Figure, median

_COMMIT_MS = 200  # flat out: the ring is half full long before


def flat_out(folder: Path, limits: Limits, *, quick: bool, model: bool = False) -> list[Figure]:
    """As fast as the node's ring allows."""
    count = 250_000 if quick else 2_000_000
    tail = "_model" if model else ""
    with Rig(folder, model=model, node_commit_ms=_COMMIT_MS) as rig:
        rig.await_readings()
        load = rig.load(count)
        rig.wait(lambda: False, 0.5)  # its frames are being made; the gateway is still
        before, counted = Usage(rig.pid), Usage(rig.heard.pid)
        if not rig.wait(lambda: rig.heard.readings >= count, 120):
            raise rig.error(f"only {rig.heard.readings} of {count} readings arrived within 120 s")
        after, counted_s = Usage(rig.pid), Usage(rig.heard.pid).cpu_s - counted.cpu_s
        said = rig.finish(load, 20)
        heard = rig.heard
    rate = count / (heard.last_s - said["began_s"])
    million = count / 1e6
    cpu = round((after.cpu_s - before.cpu_s) / million, 2)
    bare_mib = limits.rss_onnx_mib if model else limits.rss_mib
    figures = [
        Figure(
            f"throughput{tail}", round(rate), "readings/s", round(limits.pty_cobs), "bare pty + COBS + CRC + unpack"
        ),
        Figure(
            f"cpu_s_per_million{tail}", cpu, "s", round(1e6 / limits.pty_cobs, 2), "the same, taken as one core busy"
        ),
        Figure(f"rss_mib{tail}", round(after.peak_mib, 1), "MiB", round(bare_mib, 1), "bare Python, same libraries"),
    ]
    if not model:
        a_message = count / max(1, heard.messages)
        bare = round(limits.paho_messages * a_message)
        what = f"bare paho, messages of {MESSAGE_B // 1000} kB with as many"
        figures += [
            Figure("throughput_wire", round(rate), "readings/s", bare, what),
            Figure("bytes_per_reading", round((after.written_b - before.written_b) / count, 2), "B"),
            Figure("wire_b_per_reading", round(heard.payload_b / count, 1), "B"),
            Figure("load_cpu_s_per_million", round(said["cpu_s"] / million, 2), "s", cpu, "the gateway's"),
            Figure("counter_cpu_s_per_million", round(counted_s / million, 2), "s", cpu, "the gateway's"),
        ]
    return figures


def flat_out_model(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    return flat_out(folder, limits, quick=quick, model=True)


def start_up(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    """From `linli run` to the first published reading of a node that waits for it."""
    took = []
    for again in range(1 if quick else 5):
        with Rig(folder / str(again), start=False, node_commit_ms=100) as rig:
            rig.load(1_000_000, 100)
            rig.wait((rig.links / "n1").exists, 5)
            began_s = rig.start_gateway()
            if not rig.wait(lambda rig=rig: rig.heard.readings > 1, 20):  # type: ignore[misc]
                raise rig.error("no reading was published within 20 s of the start")
            took.append(rig.heard.first_reading_s - began_s)
    return [Figure("start_s", median(took), "s", round(limits.start_s, 3), "bare Python importing the same libraries")]


SENSORS_SCORED = 500


def inference(_folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    """From windows to scores: one with its features, one already in features, and a large centre's each second."""
    times = 500 if quick else 5000
    [model] = load_models(["water-leak"]).values()
    window = [[minute * 1e-6 for minute in range(60)]]
    row = features(window)
    bare = round(limits.score_us(next(MODELS.glob("water/model.onnx"))), 2)
    return [
        Figure("inference_us", _median_us(lambda: model.score(window), times), "us", bare,
               "bare onnxruntime session, without the features"),
        Figure("session_us", _median_us(lambda: model.session.score(row), times), "us", bare,
               "bare onnxruntime session"),
        Figure("score_us_500", _median_us(_ticks(model), times // 10) / SENSORS_SCORED, "us", bare,
               "bare onnxruntime session, one row"),
        Figure("model_start_s", median(limits.model_start_s(_LOAD) for _ in range(3)), "s",
               round(limits.model_start_s("pass"), 3), "a bare Python that imports numpy and onnxruntime"),
    ]  # fmt: skip


_LOAD = "from models.package import load_models; load_models(['water-leak'])"


def _median_us(run: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        began_s = time.perf_counter()
        run()
        took.append((time.perf_counter() - began_s) * 1e6)
    return median(took)


def _ticks(model: Model) -> Callable[[], object]:
    """A minute's work of the detector for a large centre, each time it is called: its windows are full."""
    sensors = [f"s{n:03}" for n in range(SENSORS_SCORED)]
    detector = Detector(model, sensors)
    minutes = [minute * 1e-6 for minute in range(60)]
    detector.restore({sensor: {"end_s": 3600.0, "minutes": minutes} for sensor in sensors}, 3601.0)
    now = iter(range(3600, 10**9, 60))

    def tick() -> object:
        at_s = float(next(now))
        for sensor in sensors:
            detector.feed(sensor, 1e-6, at_s)
        scored = detector.tick(at_s + 60.0 + LATE_S)
        assert len(scored) == SENSORS_SCORED
        return scored

    return tick

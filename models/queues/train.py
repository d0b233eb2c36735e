"""Train the forecast of waits: python -m models.queues.train. Writes model.onnx, history.json.gz, figures.json and
manifest.toml here, and prints the tables of card.md. Seeded. Needs the `train` extra and the Warsaw data
(models/data.py).

The figures are those of a model that has seen nothing from VALIDATION_FROM on; the shipped model has seen all days.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import data
from models.queues import bench, features
from models.queues.margins import NOMINAL, SOFT_MIN, TAIL
from models.queues.predictor import ANY_OFFICE, HISTORY, WAIT_MAX_MIN, save_history
from models.queues.replay import Replay
from models.queues.snapshots import Folder, read

HERE = Path(__file__).parent
NAME, VERSION, OUTPUT = "queue-waits", "1.0.0", "answer"
SEED = 20200113
VALIDATION_FROM = "2020-01-13"

NETS = 6
HIDDEN = (64, 32)
EPOCHS = 10
FOLDS = 4
OFFICE_PAIRS = 400
"""An office's own margins weigh as much as those of all offices at so many pairs."""

SCALE_MIN = 30.0
SHIFT = 0.01
"""The mean net learns (wait / 30 + 0.01): a Poisson deviance needs numbers above 0."""

LIMIT = 4.0
"""Standard deviations; an input further out counts as that far: no answer from beyond the training."""

Array = NDArray[np.float64]


class Examples(NamedTuple):
    """inputs: (n, len(NAMES)). waits: (n,) minutes. dates, offices: (n,)."""

    inputs: Array
    waits: Array
    dates: NDArray[np.str_]
    offices: NDArray[np.str_]

    def only(self, chosen: NDArray[np.bool_]) -> Examples:
        return Examples(*(column[chosen] for column in self))


def examples(folder: Folder) -> tuple[Examples, Replay]:
    """Every pair of the folder, and what its days leave behind."""
    replay = Replay({})
    asked = [(date, a) for date, queues in folder.days.items() for a in replay.replay(date, queues)]
    return Examples(
        np.array([a.features for _, a in asked]),
        np.array([a.pair.wait_min for _, a in asked]),
        np.array([date for date, _ in asked]),
        np.array([a.queue[0] for _, a in asked]),
    ), replay


class Nets(NamedTuple):
    """mean, scale: of the bent inputs. typical, average, spread: layers [(weights, bias), ...] of each net."""

    mean: Array
    scale: Array
    typical: list[list[tuple[Array, Array]]]
    average: list[list[tuple[Array, Array]]]
    spread: list[list[tuple[Array, Array]]]


def bend(inputs: Array) -> Array:
    return np.sign(inputs) * np.log1p(np.abs(inputs))


def standard(inputs: Array, mean: Array, scale: Array) -> Array:
    return np.clip((bend(inputs) - mean) / scale, -LIMIT, LIMIT)


def _fit(x: Array, y: Array, seed: int, loss: str = "squared_error", hidden: tuple[int, ...] = HIDDEN) -> Any:
    from sklearn.neural_network import MLPRegressor

    net = MLPRegressor(
        loss=loss, hidden_layer_sizes=hidden, alpha=1.0, learning_rate_init=2e-3, batch_size=256, max_iter=EPOCHS,
        tol=0.0, random_state=seed,
    )  # fmt: skip
    return net.fit(x, y)


def fit_waits(seen: Examples, nets: int) -> Nets:
    """Half of the nets learn the mean of ln(wait + 5), nearly the median; half the mean of the wait."""
    bent = bend(seen.inputs)
    mean, scale = bent.mean(axis=0), bent.std(axis=0) + 1e-6
    x = standard(seen.inputs, mean, scale)
    typical = [_fit(x, np.log(seen.waits + SOFT_MIN), SEED + k) for k in range(nets)]
    average = [_fit(x, seen.waits / SCALE_MIN + SHIFT, SEED + k, "poisson") for k in range(nets)]
    return Nets(mean, scale, list(map(_layers, typical)), list(map(_layers, average)), [])


def _layers(net: Any) -> list[tuple[Array, Array]]:
    return list(zip(net.coefs_, net.intercepts_, strict=True))


def run(layers: list[tuple[Array, Array]], x: Array) -> Array:
    """(n,) what one net says; the training's own copy of the ONNX graph."""
    for k, (weights, bias) in enumerate(layers):
        x = x @ weights + bias
        if k < len(layers) - 1:
            x = np.maximum(x, 0.0)
    return x[:, 0]


def waits_of(nets: Nets, inputs: Array) -> Array:
    x = standard(inputs, nets.mean, nets.scale)
    typical = np.exp(np.mean([run(net, x) for net in nets.typical], axis=0)) - SOFT_MIN
    average = (np.mean([np.exp(run(net, x)) for net in nets.average], axis=0) - SHIFT) * SCALE_MIN
    return np.clip((typical + average) / 2, 0.0, WAIT_MAX_MIN)


def held_out(seen: Examples, nets: int) -> Array:
    """Forecasts of each day by nets that have not seen it."""
    days = sorted(set(seen.dates.tolist()))
    waits = np.zeros(len(seen.waits))
    for k in range(FOLDS):
        mine = np.isin(seen.dates, days[k::FOLDS])
        waits[mine] = waits_of(fit_waits(seen.only(~mine), nets), seen.inputs[mine])
    return waits


def with_spread(nets: Nets, seen: Examples, forecasts: Array) -> tuple[Nets, dict[str, list[float]]]:
    """The nets, and one that says how far off forecasts are; and each office's margins, from forecasts held out."""
    x = standard(seen.inputs, nets.mean, nets.scale)
    off = np.log((seen.waits + SOFT_MIN) / (forecasts + SOFT_MIN))
    net = _layers(_fit(x, np.log(np.abs(off) + 0.05), SEED, hidden=(16,)))
    scores = off / np.exp(run(net, x))
    tails = [TAIL, 1 - TAIL]
    general = np.quantile(scores, tails)
    margins = {ANY_OFFICE: [round(float(q), 4) for q in general]}
    for office in sorted(set(seen.offices.tolist())):
        own = scores[seen.offices == office]
        trust = len(own) / (len(own) + OFFICE_PAIRS)
        mixed = trust * np.quantile(own, tails) + (1 - trust) * general
        margins[office] = [round(float(q), 4) for q in mixed]
    return nets._replace(spread=[net]), margins


def export(nets: Nets, path: Path) -> None:
    """Write ONNX: input `features` float32 (n, width), output `answer` float32 (n, 2): minutes, spread."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, value: Array | list[float]) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def stack(name: str, group: list[list[tuple[Array, Array]]], x: str) -> str:
        """All nets of a group at once: (1, n, width) to (nets, n, 1)."""
        depth = len(group[0])
        for k in range(depth):
            weights = constant(f"{name}_w{k}", np.stack([net[k][0] for net in group]))
            bias = constant(f"{name}_b{k}", np.stack([net[k][1][None, :] for net in group]))
            x = node("Add", [node("MatMul", [x, weights], f"{name}_m{k}"), bias], f"{name}_a{k}")
            if k < depth - 1:
                x = node("Relu", [x], f"{name}_r{k}")
        return x

    one, soft, first = constant("one", [1.0]), constant("soft", [SOFT_MIN]), constant("first", [0])
    constants[-1] = numpy_helper.from_array(np.array([0], np.int64), first)
    size = node("Log", [node("Add", [node("Abs", ["features"], "size"), one], "size_1")], "bent_size")
    bent = node("Mul", [node("Sign", ["features"], "sign"), size], "bent")
    centred = node("Sub", [bent, constant("mean", nets.mean)], "centred")
    scaled = node("Div", [centred, constant("scale", nets.scale)], "scaled")
    limits = [constant("low", np.float32(-LIMIT)), constant("high", np.float32(LIMIT))]
    x = node("Unsqueeze", [node("Clip", [scaled, *limits], "clipped"), first], "x")
    typical = node("ReduceMean", [stack("typical", nets.typical, x)], "typical_mean", axes=[0], keepdims=0)
    typical = node("Sub", [node("Exp", [typical], "typical_exp"), soft], "typical")
    average = node("Exp", [stack("average", nets.average, x)], "average_exp")
    average = node("ReduceMean", [average], "average_mean", axes=[0], keepdims=0)
    average = node("Sub", [average, constant("shift", [SHIFT])], "average_0")
    average = node("Mul", [average, constant("minutes", [SCALE_MIN])], "average")
    both = node("Mul", [node("Add", [typical, average], "sum"), constant("half", [0.5])], "both")
    wait = node("Clip", [both, constant("zero", np.float32(0)), constant("most", np.float32(WAIT_MAX_MIN))], "wait")
    spread = node("ReduceMean", [stack("spread", nets.spread, x)], "spread_mean", axes=[0], keepdims=0)
    node("Concat", [wait, node("Exp", [spread], "spread")], OUTPUT, axis=1)
    graph = helper.make_graph(
        nodes, NAME,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(features.NAMES)])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 2])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="linli")
    checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def fit(seen: Examples, replay: Replay, upto: str, out: Path, nets: int = NETS) -> int:
    """Train on these pairs; write model.onnx, history.json.gz and manifest.toml. Returns the number of pairs."""
    trained, margins = with_spread(fit_waits(seen, nets), seen, held_out(seen, max(nets // 3, 1)))
    out.mkdir(parents=True, exist_ok=True)
    export(trained, out / "model.onnx")
    past = {queue: [r for r in records if r.date <= upto] for queue, records in replay.history().items()}
    save_history(out / HISTORY, {queue: records for queue, records in past.items() if records})
    write_manifest(out, upto, margins)
    return len(seen.waits)


def write_manifest(folder: Path, upto: str, margins: dict[str, list[float]]) -> None:
    """Vouch for the files as they are now."""
    files = [name for name in ("model.onnx", HISTORY, "figures.json") if (folder / name).exists()]
    sums = "".join(f'"{name}" = "{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"\n' for name in files)
    names = "".join(f'    "{name}",\n' for name in features.NAMES)
    lines = "".join(f"{office} = {values}\n" for office, values in margins.items())
    (folder / "manifest.toml").write_text(
        "# Written by models/queues/train.py.\n"
        f'name = "{NAME}"\nversion = "{VERSION}"\nupto = "{upto}"\nnominal = {NOMINAL}\n'
        f'input = "features"\noutput = "{OUTPUT}"\nfeatures = [\n{names}]\n\n[margins]\n{lines}\n[sha256]\n{sums}',
        encoding="utf-8",
    )


def train(out: Path, until: str | None = None, nets: int = NETS) -> dict[str, Any]:
    """Everything, or only the model that has seen no day after `until`. Returns the figures, {} without them."""
    source = data.data_dir("warsaw-queues")
    folder = read(source)
    every, replay = examples(folder)
    if until:
        fit(every.only(every.dates <= until), replay, until, out, nets)
        return {}
    early = max(date for date in folder.days if date < VALIDATION_FROM)
    with tempfile.TemporaryDirectory() as place:
        validated = fit(every.only(every.dates <= early), replay, early, Path(place), nets)
        figures = bench.measure(folder, Path(place), VALIDATION_FROM)
    latest = max(folder.days)
    shipped = fit(every, replay, latest, out, nets)
    figures = {
        "validation": {"trained_upto": early, "pairs_trained": validated, **figures},
        "shipped": {"trained_upto": latest, "pairs_trained": shipped, "bytes": (out / "model.onnx").stat().st_size},
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_manifest(out, latest, tomllib.loads((out / "manifest.toml").read_text())["margins"])
    return figures


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: models/queues)")
    options.add_argument("--until", help="train on days up to this one only, and measure nothing")
    options.add_argument("--nets", type=int, default=NETS, help="of each kind; fewer is sooner and worse")
    arguments = options.parse_args()
    if found := train(arguments.out, arguments.until, arguments.nets):
        print(bench.tables(found["validation"]))

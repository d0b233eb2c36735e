"""What hides in an .onnx file's bytes is found before any runtime opens it, and what runs then can only fail as a
ModelError."""

import struct
from pathlib import Path

import numpy as np
import pytest

from models import trial
from models.features import NAMES, WINDOW_MIN
from models.onnx_file import opset_of
from models.package import AT_ONCE_MAX, MODELS, Model
from models.session import ModelError, Session
from tests import onnx_made
from tests.onnx_made import attribute, field, floats, integers, made, node, number, varint
from tests.test_model_packages import KEYS, checked, package

GEMM = node("Gemm", ["features", "w", "b"], "line")
WEIGHTS = [floats("w", (16, 1), [1.0] * 16), floats("b", (1,), [-3.0])]
GOOD = onnx_made.linear()
AXES = field(5, field(1, b"axes") + number(8, 1) + number(20, 7))


def constant(inner: bytes) -> bytes:
    """A model with a Constant whose value attribute is `inner`."""
    value = field(5, field(1, b"value") + inner + number(20, 4))
    nodes = [node("Constant", [], "c", value), GEMM, node("Mul", ["line", "c"], "x"), node("Sigmoid", ["x"], "score")]
    return made(nodes, WEIGHTS)


def nan_of_type(kind: int) -> bytes:
    return number(1, 1) + number(2, kind) + field(8, b"c") + field(9, struct.pack("<f", float("nan")))


def leaves_out(less_than: float) -> bytes:
    """Rows whose score is not below it are missing in the answer."""
    nodes = [
        GEMM, node("Sigmoid", ["line"], "s"), node("Less", ["s", "t"], "l"), node("Squeeze", ["l"], "l1"),
        node("Compress", ["s", "l1"], "score", attribute("axis", 0)),
    ]  # fmt: skip
    return made(nodes, [*WEIGHTS, floats("t", (1,), [less_than])])


@pytest.mark.parametrize("model", ["water", "queues"])
def test_the_models_that_come_with_the_program_would_pass(model: str) -> None:
    assert opset_of((MODELS / model / "model.onnx").read_bytes()) == 17


@pytest.mark.parametrize(
    ("model", "message"),
    [
        # A runtime keeps 32 bits of a tag: there this is field 7, a second graph that is laid over the first.
        (GOOD + varint(1 << 32 | 7 << 3 | 2) + varint(2) + field(1, b""), r"cannot be read \(the tag 0x10000003a"),
        (GOOD + varint(2) + varint(0), "the tag 0x2 before"),
        (constant(field(5, nan_of_type(6)) + field(5, number(2, 1))), "two tensors where one belongs"),
        (constant(field(5, nan_of_type(1 | 1 << 32))), "weights of the type 4294967297. Expected float32"),
        (constant(field(5, nan_of_type(10))), "weights of the type 10. Expected float32"),
        (constant(field(5, nan_of_type(1))), "the weight nan in c"),
        (constant(field(22, b"")), "has sparse weights"),
        (leaves_out(0.5), "uses the operator 'Compress'. Expected one whose cost is the same"),
        (made([node("RandomUniformLike", ["features"], "score")]), "uses the operator 'RandomUniformLike'"),
        (
            made([node("Expand", ["features", "size"], "score")], [integers("size", [1 << 20, 16])]),
            "uses the operator 'Expand'",
        ),
    ],
)
def test_what_is_hidden_in_the_bytes_is_refused(model: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        opset_of(model)


def test_rows_that_a_model_leaves_out_are_its_fault_and_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(leaves_out(0.5))
    batch = np.zeros((64, 16), np.float32)
    batch[0] = 1.0
    session = Session(tmp_path / "model.onnx", 16)
    with pytest.raises(ModelError, match="failed: cannot reshape array of size 63"):
        session.score(batch)
    batch[:] = 1.0
    with pytest.raises(ModelError, match="answered nothing. Expected one score a row"):
        session.score(batch)


def test_a_centre_with_many_sensors_is_scored_in_runs_of_the_trials_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_made.linear(1.0, -30.0))
    model = Model("water-leak", "2.0.0", Session(tmp_path / "model.onnx", len(NAMES)))
    rows: list[int] = []
    score = Session.score

    def counted(session: Session, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        rows.append(len(batch))
        return score(session, batch)

    monkeypatch.setattr(Session, "score", counted)
    windows = [[n * 1e-6] * WINDOW_MIN for n in range(150)]
    scores = model.score(windows)
    assert rows == [AT_ONCE_MAX, AT_ONCE_MAX, 150 - 2 * AT_ONCE_MAX]
    assert scores == pytest.approx([model.score([window])[0] for window in windows])


def test_a_model_that_fills_the_memory_for_a_moment_is_refused_by_what_it_fills(tmp_path: Path) -> None:
    package(tmp_path / "new", onnx_made.square(12, 0))  # 64 MiB, and the half of it beside it
    with pytest.raises(ModelError, match=r"needs \d+ MiB to score 64 windows. Expected 64 at most"):
        checked(tmp_path / "new", KEYS)


@pytest.mark.parametrize(
    ("run_ms", "open_ms", "mib", "message"),
    [
        (51.0, 1.0, 1.0, "takes 51 ms for 64 windows. Expected 50 ms"),
        (1.0, 201.0, 1.0, "takes 201 ms of CPU time to open. Expected 200 at most"),
        (1.0, 1.0, 65.0, "needs 65 MiB"),
    ],
)
def test_each_limit_of_the_trial_is_told_by_itself(run_ms: float, open_ms: float, mib: float, message: str) -> None:
    trial._affordable(50.0, 200.0, 64.0)
    with pytest.raises(ModelError, match=message):
        trial._affordable(run_ms, open_ms, mib)


def test_what_a_model_calls_its_nodes_fills_no_log_and_no_event(tmp_path: Path) -> None:
    """The runtime quotes a node's name when it fails; here with a row above 5, which no trial has."""
    name = field(3, b"\x1b[2J\nall is well " + b"A" * 3_000_000)
    nodes = [
        node("Cast", ["features"], "at", attribute("to", 7)), node("Gather", ["table", "at"], "g") + name,
        node("ReduceMax", ["g"], "score", attribute("keepdims", 0) + AXES),
    ]  # fmt: skip
    (tmp_path / "model.onnx").write_bytes(made(nodes, [floats("table", (5,), [0.1] * 5)]))
    session = Session(tmp_path / "model.onnx", 16)
    batch = np.zeros((2, 16), np.float32)
    assert session.score(batch) == pytest.approx([0.1, 0.1])
    batch[0] = 6.0
    with pytest.raises(ModelError) as found:
        session.score(batch)
    said = str(found.value)
    assert said.startswith("model.onnx failed: ") and said.endswith(
        "Expected one score a row. Install the model again."
    )
    assert len(said) < 700 and said.isprintable()


def test_what_the_runtime_prints_of_itself_does_not_hide_why_the_trial_refused(tmp_path: Path) -> None:
    nodes = [GEMM, node("Reshape", ["line", "shape"], "score")]
    package(tmp_path / "new", made(nodes, [*WEIGHTS, integers("shape", [7, -1])]))  # it writes lines of its own first
    with pytest.raises(ModelError, match="^model.onnx failed: .*Reshape"):
        checked(tmp_path / "new", KEYS)

"""What can be known of an .onnx file without running it: read as protobuf, within bounds, before any runtime opens it.

Field numbers are those of the public onnx.proto (ONNX, version 1.16). Only what a small scorer needs is let through.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from models.session import ModelError

BYTES_MAX = 4 * 1024 * 1024
NODES_MAX = 500
OPSETS = {"": (13, 21), "ai.onnx": (13, 21), "ai.onnx.ml": (2, 4)}
"""Domain -> the oldest and the newest opset that is taken; other domains are not."""
OPERATORS = {
    "Abs", "Add", "And", "ArgMax", "ArgMin", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "Div", "Elu", "Equal", "Erf", "Exp", "Flatten", "Floor", "Gather", "GatherElements", "Gelu", "Gemm", "Greater",
    "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "Mean", "Min", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape",
    "Round", "Selu", "Shape", "Sigmoid", "Sign", "Slice", "Softmax", "Softplus", "Softsign", "Split", "Sqrt",
    "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze", "Where", "Xor", "ArrayFeatureExtractor",
    "Binarizer", "FeatureVectorizer", "Imputer", "LinearClassifier", "LinearRegressor", "Normalizer",
    "SVMClassifier", "SVMRegressor", "Scaler", "TreeEnsembleClassifier", "TreeEnsembleRegressor",
}  # fmt: skip
"""Of none can the input's numbers make a result larger, or another at each run: so the trial's cost is every run's."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOATS = {1: "<f4", 11: "<f8"}  # TensorProto.DataType -> how its raw bytes read
_WHOLE = (6, 7, 9)  # int32, int64, bool
_NONE = memoryview(b"")
_SPARSE = "model.onnx has sparse weights. Expected dense ones. Export it with dense weights."
_NEVER_FINITE = "Expected weights that are finite numbers. Train the model again, and look at what it printed."


def opset_of(data: bytes) -> int:
    """Check a whole file; the opset of its default domain. Raises ModelError with what is wrong."""
    if len(data) > BYTES_MAX:
        raise ModelError(
            f"model.onnx has {len(data)} bytes. Expected {BYTES_MAX} at most, for a small box. Train a smaller model."
        )
    try:
        return _model(data)
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError(
            f"model.onnx cannot be read ({error}). Expected an ONNX model. Copy the package again from its maker."
        ) from error


def _model(data: bytes) -> int:
    opsets: dict[str, int] = {}
    graphs = []
    for number, value in _fields(data):
        if number == 8:
            entry = dict(_fields(value))
            opsets[_text(entry.get(1, _NONE))] = _number(entry.get(2, 0))
        elif number == 7:
            graphs.append(value)
        elif number == 25:
            raise ModelError("model.onnx defines functions. Expected plain nodes. Export it without functions.")
    for domain, version in opsets.items():
        low, high = OPSETS.get(domain, (1, 0))
        if not low <= version <= high:
            known = ", ".join(f"{name or 'ai.onnx'} {a} to {b}" for name, (a, b) in OPSETS.items() if name != "ai.onnx")
            raise ModelError(
                f"model.onnx needs opset {version} of {domain or 'ai.onnx'}. Expected {known}. "
                "Export it for one of these."
            )
    if len(graphs) != 1 or "" not in opsets:
        raise ModelError(
            f"model.onnx has {len(graphs)} graphs and opsets {opsets}. "
            "Expected one graph and an opset of ai.onnx. Copy the package again from its maker."
        )
    _graph(graphs[0])
    return opsets[""]


def _graph(data: Any) -> None:
    nodes = 0
    for number, value in _fields(data):
        if number == 1:
            nodes += 1
            _node(value)
        elif number == 5:
            _tensor(value)
        elif number == 15:
            raise ModelError(_SPARSE)
    if not 0 < nodes <= NODES_MAX:
        raise ModelError(f"model.onnx has {nodes} nodes. Expected 1 to {NODES_MAX}. Train a smaller model.")


def _node(data: Any) -> None:
    sort = ""
    for number, value in _fields(data):
        if number == 4:
            sort = _text(value)
        elif number == 5:
            _attribute(value)
    if sort not in OPERATORS:
        raise ModelError(
            f"model.onnx uses the operator {sort[:40]!r}. Expected one whose cost is the same whatever it is given; "
            "docs/models.md lists them. Export it without."
        )


def _attribute(data: Any) -> None:
    tensors = 0
    for field, value in _fields(data):
        if field in (6, 11):  # a graph inside a node: Loop, Scan, If
            raise ModelError(
                "model.onnx has a loop or a branch. Expected plain nodes, which end after a known time. "
                "Export it without Loop, Scan and If."
            )
        if field in (22, 23):
            raise ModelError(_SPARSE)
        tensors += field == 5
        if tensors > 1:  # a runtime would make one of the two, which nobody has looked at
            raise ValueError("two tensors where one belongs")
        if field in (5, 10):
            _tensor(value)
        elif field in (2, 7):  # one number, or many
            _finite(struct.pack("<f", value) if isinstance(value, float) else value, "<f4")


def _tensor(data: Any) -> None:
    kind, raw, floats = 0, b"", []
    name = ""
    for number, value in _fields(data):
        if number == 2:
            kind = _number(value)
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = value
        elif number in (4, 10):
            floats.append((value, "<f4" if number == 4 else "<f8"))
        elif number in (13, 14) and value:
            raise ModelError(
                "model.onnx keeps weights in another file. Expected one file. Export it without external data."
            )
    if kind not in _FLOATS and kind not in _WHOLE:
        raise ModelError(
            f"model.onnx has weights of the type {kind}. Expected float32, float64, int32, int64 or bool (1, 11, "
            "6, 7, 9). Export it with these."
        )
    if kind in _FLOATS and raw:
        _finite(raw, _FLOATS[kind], name)
    for value, of in floats:
        _finite(struct.pack(of, value) if isinstance(value, float) else value, of, name)


def _finite(raw: Any, of: str, name: str = "") -> None:
    import numpy as np

    numbers = np.frombuffer(_bytes(raw), of)
    if not np.isfinite(numbers).all():
        where = f" in {name}" if name else ""
        raise ModelError(f"model.onnx has the weight {numbers[~np.isfinite(numbers)][0]}{where}. {_NEVER_FINITE}")


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """(number, value) of a message: int for a varint, float for fixed, a memoryview for bytes. Raises ValueError."""
    view = _bytes(data)
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if tag >> 32 or not number:  # a runtime cuts it to 32 bits, and reads another field than we would
            raise ValueError(f"the tag {tag:#x} before byte {at}")
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(view, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + length > len(view):
            raise ValueError(f"cut short: {length} bytes announced at {at} of {len(view)}")
        piece = view[at : at + length]
        at += length
        yield number, piece if wire == _BYTES else struct.unpack("<f" if wire == _FIXED32 else "<d", piece)[0]


def _bytes(value: Any) -> memoryview:
    """What must be bytes by its number in the format, and need not be in a file that means no good."""
    if not isinstance(value, (bytes, memoryview)):
        raise ValueError(f"the number {value} where bytes belong")
    return memoryview(value)


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("no number where one belongs")
    return value


def _text(value: Any) -> str:
    return bytes(_bytes(value)).decode()


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number without an end at byte {at}")

"""Tiny .onnx files made by hand: a protobuf writer of a page, so that no test needs the onnx package."""

import struct
from collections.abc import Sequence

WIDTH = 16


def made(
    nodes: Sequence[bytes], weights: Sequence[bytes] = (), width: int = WIDTH, opset: int = 17, domain: str = ""
) -> bytes:
    """A whole model: features (n, width) to score (n, 1)."""
    inner = b"".join(_field(1, node) for node in nodes) + _field(2, b"made")
    inner += b"".join(_field(5, weight) for weight in weights)
    inner += _field(11, _value("features", width)) + _field(12, _value("score", 1))
    opsets = [("", opset)] if not domain else [("", opset), (domain, 1)]
    entries = b"".join(_field(8, _field(1, name.encode()) + _number(2, version)) for name, version in opsets)
    return _number(1, 8) + entries + _field(7, inner)


def node(sort: str, inputs: Sequence[str], output: str, attributes: bytes = b"", domain: str = "") -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs)
    return names + _field(2, output.encode()) + _field(4, sort.encode()) + attributes + _field(7, domain.encode())


def attribute_graph(name: str, inner: bytes) -> bytes:
    return _field(5, _field(1, name.encode()) + _field(6, inner) + _number(20, 5))


def floats(name: str, shape: Sequence[int], numbers: Sequence[float]) -> bytes:
    dims = b"".join(_number(1, size) for size in shape)
    raw = struct.pack(f"<{len(numbers)}f", *numbers)
    return dims + _number(2, 1) + _field(8, name.encode()) + _field(9, raw)


def integers(name: str, numbers: Sequence[int]) -> bytes:
    raw = struct.pack(f"<{len(numbers)}q", *numbers)
    return _number(1, len(numbers)) + _number(2, 7) + _field(8, name.encode()) + _field(9, raw)


def elsewhere(name: str, shape: Sequence[int]) -> bytes:
    """Weights that are said to be in another file."""
    dims = b"".join(_number(1, size) for size in shape)
    place = _field(1, b"location") + _field(2, b"../../../etc/passwd")
    return dims + _number(2, 1) + _field(8, name.encode()) + _field(13, place) + _number(14, 1)


def linear(weight: float = 0.0, bias: float = -3.0, width: int = WIDTH, **more: int) -> bytes:
    """sigmoid(weight times the sum of the features + bias)."""
    return made(
        [node("Gemm", ["features", "w", "b"], "line"), node("Sigmoid", ["line"], "score")],
        [floats("w", (width, 1), [weight] * width), floats("b", (1,), [bias])], width, **more,
    )  # fmt: skip


def square(side: int, times: int) -> bytes:
    """A few hundred bytes that make a square of side * side numbers and multiply it with itself, `times` times."""
    nodes = [node("Gemm", ["features", "w", "b"], "line"), node("ReduceMean", ["line"], "one")]
    nodes.append(node("Expand", ["one", "size"], "s0"))
    nodes += [node("MatMul", [f"s{n}", f"s{n}"], f"s{n + 1}") for n in range(times)]
    nodes += [node("ReduceMean", [f"s{times}"], "all"), node("Add", ["line", "all"], "both")]
    nodes.append(node("Sigmoid", ["both"], "score"))
    weights = [floats("w", (WIDTH, 1), [0.0] * WIDTH), floats("b", (1,), [-3.0]), integers("size", [side, side])]
    return made(nodes, weights)


def _value(name: str, width: int) -> bytes:
    shape = _field(1, _field(2, b"n")) + _field(1, _number(1, width))
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, shape)))


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

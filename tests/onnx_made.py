"""Tiny .onnx files made by hand: a protobuf writer of a page, so that no test needs the onnx package."""

import struct
from collections.abc import Sequence

WIDTH = 16


def made(
    nodes: Sequence[bytes], weights: Sequence[bytes] = (), width: int = WIDTH, opset: int = 17, domain: str = ""
) -> bytes:
    """A whole model: features (n, width) to score (n, 1)."""
    inner = b"".join(field(1, node) for node in nodes) + field(2, b"made")
    inner += b"".join(field(5, weight) for weight in weights)
    inner += field(11, _value("features", width)) + field(12, _value("score", 1))
    opsets = [("", opset)] if not domain else [("", opset), (domain, 1)]
    entries = b"".join(field(8, field(1, name.encode()) + number(2, version)) for name, version in opsets)
    return number(1, 8) + entries + field(7, inner)


def node(sort: str, inputs: Sequence[str], output: str, attributes: bytes = b"", domain: str = "") -> bytes:
    names = b"".join(field(1, name.encode()) for name in inputs)
    return names + field(2, output.encode()) + field(4, sort.encode()) + attributes + field(7, domain.encode())


def attribute_graph(name: str, inner: bytes) -> bytes:
    return field(5, field(1, name.encode()) + field(6, inner) + number(20, 5))


def attribute(name: str, value: int) -> bytes:
    return field(5, field(1, name.encode()) + number(3, value) + number(20, 2))


def floats(name: str, shape: Sequence[int], numbers: Sequence[float]) -> bytes:
    dims = b"".join(number(1, size) for size in shape)
    raw = struct.pack(f"<{len(numbers)}f", *numbers)
    return dims + number(2, 1) + field(8, name.encode()) + field(9, raw)


def integers(name: str, numbers: Sequence[int]) -> bytes:
    raw = struct.pack(f"<{len(numbers)}q", *numbers)
    return number(1, len(numbers)) + number(2, 7) + field(8, name.encode()) + field(9, raw)


def elsewhere(name: str, shape: Sequence[int]) -> bytes:
    """Weights that are said to be in another file."""
    dims = b"".join(number(1, size) for size in shape)
    place = field(1, b"location") + field(2, b"../../../etc/passwd")
    return dims + number(2, 1) + field(8, name.encode()) + field(13, place) + number(14, 1)


def linear(weight: float = 1.0, bias: float = -20.0, width: int = WIDTH, **more: int) -> bytes:
    """sigmoid(weight times the sum of the features + bias). The sum of a pipe at rest is 1, with a leak dozens."""
    return made(
        [node("Gemm", ["features", "w", "b"], "line"), node("Sigmoid", ["line"], "score")],
        [floats("w", (width, 1), [weight] * width), floats("b", (1,), [bias])], width, **more,
    )  # fmt: skip


def square(doublings: int, times: int) -> bytes:
    """A few hundred bytes that make a square, its side doubled so often, and multiply it with itself, `times` times."""
    nodes = [node("Gemm", ["features", "w", "b"], "line"), node("ReduceMean", ["line"], "wide0")]
    for n in range(doublings):
        nodes.append(node("Concat", [f"wide{n}"] * 2, f"wide{n + 1}", attribute("axis", 1)))
    nodes.append(node("Identity", [f"wide{doublings}"], "high0"))
    for n in range(doublings):
        nodes.append(node("Concat", [f"high{n}"] * 2, f"high{n + 1}", attribute("axis", 0)))
    nodes.append(node("Identity", [f"high{doublings}"], "s0"))
    nodes += [node("MatMul", [f"s{n}", f"s{n}"], f"s{n + 1}") for n in range(times)]
    nodes += [node("ReduceMean", [f"s{times}"], "all"), node("Add", ["line", "all"], "both")]
    nodes.append(node("Sigmoid", ["both"], "score"))
    return made(nodes, [floats("w", (WIDTH, 1), [0.0] * WIDTH), floats("b", (1,), [-3.0])])


def _value(name: str, width: int) -> bytes:
    shape = field(1, field(2, b"n")) + field(1, number(1, width))
    return field(1, name.encode()) + field(2, field(1, number(1, 1) + field(2, shape)))


def field(at: int, value: bytes) -> bytes:
    return varint(at << 3 | 2) + varint(len(value)) + value


def number(at: int, value: int) -> bytes:
    return varint(at << 3) + varint(value)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

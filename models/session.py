"""One ONNX model, opened for a small box. The only file that imports onnxruntime."""

from __future__ import annotations

import os
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_TEXT_MAX, _END = 600, 200


class ModelError(Exception):
    """What was found, what was expected and what to do, in one sentence each.

    It may quote a model's own words, and goes into logs and events: so it is one line, its middle left out where long.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _TEXT_MAX:
            text = f"{text[: _TEXT_MAX - _END]} … {text[-_END:]}"
        super().__init__("".join(letter if letter.isprintable() else " " for letter in text))


class Session:
    """A model with one input (n, width) and, as the last column of `output`, one score a row.

    path: the .onnx file. width: columns of the input. output: name of the output to read.
    Raises ModelError: no such file, not an ONNX model, or other inputs and outputs than these.
    """

    def __init__(self, path: Path, width: int, output: str = "score") -> None:
        self._path = path
        self._width = width
        self._output = output
        self._session = _open(path)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or list(inputs[0].shape[1:]) != [width] or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "nothing"
            raise ModelError(
                f"{path} takes {found}. Expected one tensor(float) of shape (n, {width}). "
                "Install the model that belongs to this version, or train it again."
            )
        outputs = [o.name for o in self._session.get_outputs()]
        if output not in outputs:
            raise ModelError(
                f"{path} gives {', '.join(outputs)}. Expected an output named {output!r}. "
                "Install the model that belongs to this version, or train it again."
            )
        self._input = inputs[0].name
        self._warm_up()

    def score(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """One score a row, the last column of answers(): float32 (n, width) to float32 (n,). Raises ModelError."""
        return self.answers(batch)[:, -1]

    def answers(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """All columns of the output: float32 (n, width) to float32 (n, k).

        Raises ModelError for another shape or type, for a run that failed and for answers that are not numbers.
        """
        import numpy as np

        if batch.ndim != 2 or batch.shape[1] != self._width or batch.dtype != np.float32:
            raise ModelError(
                f"{self._path.name} was given {batch.dtype} {batch.shape}. "
                f"Expected float32 (n, {self._width}). This is a bug in the caller: report it."
            )
        try:
            answer = self._session.run([self._output], {self._input: batch})[0]
            scores = np.asarray(answer, np.float32).reshape(len(batch), -1)  # fails for texts, and for rows left out
        except Exception as error:  # onnxruntime's own errors share no base class below Exception
            raise ModelError(
                f"{self._path.name} failed: {error}. Expected one score a row. Install the model again."
            ) from error
        if not scores.size:
            raise ModelError(f"{self._path.name} answered nothing. Expected one score a row. Install the model again.")
        flat = scores.reshape(-1)
        # One multiplication instead of three passes: what is no number stays none; what only overflows is looked at.
        if not isfinite(flat.dot(flat)) and not np.isfinite(scores).all():
            raise ModelError(
                f"{self._path.name} answered {scores[~np.isfinite(scores)][0]}. Expected a number. "
                "Install the model again; if it comes back, report it with the site's readings."
            )
        return scores

    def _warm_up(self) -> None:
        """The first run is the slow one: have it at the start, not inside a minute's work."""
        import numpy as np

        self.score(np.zeros((1, self._width), np.float32))


def _open(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"{path} is not there. Expected an ONNX model. Install the model's folder again.")
    try:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # its wheel would call home
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"onnxruntime cannot be imported ({error}). A site with `model:` conditions needs it. "
            "Install it (./dev setup does), or take the condition out of the site file."
        ) from error
    options = onnxruntime.SessionOptions()
    # Tiny models: one thread, no memory arena and no spinning halve the time and take no core from acquisition.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{path} cannot be opened: {error}. Expected an ONNX model. Install the model's folder again."
        ) from error

"""The model's folder, checked and opened: models/queues or one that train.py made elsewhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, NamedTuple

from models.package import check_hash, read_manifest
from models.queues.days import Record
from models.queues.features import NAMES
from models.queues.margins import NOMINAL, Margins
from models.queues.snapshots import Queue
from models.session import ModelError, Session

FOLDER = Path(__file__).parent
HISTORY = "history.json.gz"
ANY_OFFICE = "any"
WAIT_MAX_MIN = 240.0
"""No forecast is longer."""


class Forecast(NamedTuple):
    """wait_min: of a ticket drawn now. spread: how far off it tends to be, in ln; margins multiply it."""

    wait_min: float
    spread: float


class Predictor:
    """name, version, upto: as in the manifest; upto is the last day that the weights have seen.

    Raises ModelError: a file is missing, is not the one that the manifest vouches for, or belongs to another version.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        manifest = read_manifest(folder, {"name": str, "version": str, "upto": str, "features": list, "output": str,
                                          "nominal": float, "margins": dict, "sha256": dict})  # fmt: skip
        for name, expected in manifest["sha256"].items():
            check_hash(folder / name, expected)
        if tuple(manifest["features"]) != NAMES or manifest["nominal"] != NOMINAL:
            raise ModelError(
                f"{folder} was trained for other features than this version computes. "
                f"Expected {len(NAMES)} features and intervals for {NOMINAL:.0%}. "
                "Install the model that belongs to this version, or train it again."
            )
        self.name, self.version, self.upto = manifest["name"], manifest["version"], manifest["upto"]
        self._margins: dict[str, list[float]] = manifest["margins"]
        self._folder = folder
        self._session = Session(folder / "model.onnx", len(NAMES), manifest["output"])

    def forecast(self, inputs: Sequence[Sequence[float]]) -> list[Forecast]:
        """inputs: (n, len(NAMES)) as models.queues.features makes them. Raises ModelError."""
        import numpy as np

        if not len(inputs):
            return []
        answers = self._session.answers(np.asarray(inputs, np.float32))
        return [Forecast(wait_min, spread) for wait_min, spread in answers.tolist()]

    def margins(self, office: str = ANY_OFFICE) -> Margins:
        """Where an office's margins begin; those of all offices together for one that was not in the training."""
        return Margins(*self._margins.get(office, self._margins[ANY_OFFICE]))

    def history(self) -> dict[Queue, list[Record]]:
        """Days of the queues of the training, oldest first."""
        return load_history(self._folder / HISTORY)


def save_history(path: Path, history: dict[Queue, list[Record]]) -> None:
    """Bytes that depend on the days alone."""
    rows = [[*queue, *astuple(record)] for queue, records in history.items() for record in records]
    columns = ["office", "queue_id", *(field.name for field in fields(Record))]
    text = json.dumps({"columns": columns, "rows": rows}, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def load_history(path: Path) -> dict[Queue, list[Record]]:
    found: dict[Queue, list[Record]] = {}
    kept: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    for office, queue_id, *values in kept["rows"]:
        record = Record(*(tuple(value) if isinstance(value, list) else value for value in values))
        found.setdefault((office, queue_id), []).append(record)
    return found

"""A model's folder: manifest.toml, the .onnx it vouches for, its card and its figures.

The manifest lists the SHA-256 of each file that counts; a file that differs is refused. What came from elsewhere is
signed besides: gateway/model_packages.py.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from models.features import NAMES, WINDOW_MIN, features
from models.session import ModelError, Session

MODELS = Path(__file__).parent
BECAUSE_MAX = 3
AT_ONCE_MAX = 64
"""Windows of one run, as in the trial: what a run takes of memory may grow faster than they do."""
_VOUCH = ("manifest.toml", "constants.toml")
_EVERY: dict[str, type] = {"name": str, "version": str, "sha256": dict}  # one of windows says window_min besides


@dataclass(frozen=True)
class Model:
    """name, version: as in the manifest. score() takes windows as models.features describes them."""

    name: str
    version: str
    session: Session

    def score(self, windows: Sequence[Sequence[float]]) -> list[float]:
        """How much each window looks like a leak, 0 to 1. windows: (n, WINDOW_MIN) m3/s, NaN missing.

        Raises ModelError when the model fails or answers something that is not a number.
        """
        rows = features(windows)
        runs = [self.session.score(rows[at : at + AT_ONCE_MAX]) for at in range(0, len(rows), AT_ONCE_MAX)]
        return [float(score) for scores in runs for score in scores]

    def because(self, window: Sequence[float]) -> list[tuple[str, float]]:
        """Which features make this window's score: (name, how much lower it were with that of a pipe at rest).

        The BECAUSE_MAX that count most, most first. Raises ModelError, as score() does.
        """
        now, rest = features([window, [0.0] * WINDOW_MIN])
        without = now.repeat(len(NAMES)).reshape(len(now), -1).T.copy()
        for at, value in enumerate(rest):
            without[at, at] = value
        score = float(self.session.score(now[None, :])[0])
        lower = [score - float(other) for other in self.session.score(without)]
        most = sorted(zip(NAMES, lower, strict=True), key=lambda pair: -pair[1])[:BECAUSE_MAX]
        return [(name, far) for name, far in most if far > 0.0]


def load(folder: Path) -> Model:
    """Check a model's folder and open it. Raises ModelError, which says what is wrong and what to do."""
    manifest = _manifest(folder)
    for name, expected in manifest["sha256"].items():
        check_hash(folder / name, expected)
    if tuple(manifest["features"]) != NAMES or manifest["window_min"] != WINDOW_MIN:
        raise ModelError(
            f"{folder} was trained for other features than this version computes. "
            f"Expected {len(NAMES)} features of {WINDOW_MIN} minutes: {', '.join(NAMES)}. "
            "Install the model that belongs to this version, or train it again."
        )
    session = Session(folder / "model.onnx", width=len(NAMES), output=manifest["output"])
    return Model(manifest["name"], manifest["version"], session)


def load_models(names: Iterable[str]) -> dict[str, Model]:
    """The named models of this version, loaded. Raises ModelError for an unknown name or a broken folder."""
    folders = {found["name"]: folder for folder, found in _manifests() if "window_min" in found}
    loaded: dict[str, Model] = {}
    for name in names:
        if name not in folders:
            raise ModelError(
                f"There is no model {name!r}. There are: {', '.join(folders)}. "
                "Correct the name behind `model:` in the site file."
            )
        loaded[name] = load(folders[name])
    return loaded


class Shipped(NamedTuple):
    """kind: "onnx" has trained weights, "numpy" is a step function whose source is all there is to it."""

    name: str
    version: str
    kind: str


def shipped() -> list[Shipped]:
    """The models that came with this version, by name."""
    return sorted(
        Shipped(found["name"], found["version"], "onnx" if "model.onnx" in found["sha256"] else "numpy")
        for file in _VOUCH
        for _, found in _manifests(file)
    )


def with_packages() -> dict[str, str]:
    """{name: version that came with the program} of the models of which a package can bring another version."""
    return {found["name"]: found["version"] for _, found in _manifests() if "window_min" in found}


def _manifests(file: str = "manifest.toml") -> list[tuple[Path, dict[str, Any]]]:
    """(folder, manifest) of each model of this version that has one of that name. Raises ModelError."""
    return [(path.parent, read_manifest(path.parent, _EVERY, file)) for path in sorted(MODELS.glob(f"*/{file}"))]


def _manifest(folder: Path) -> dict[str, Any]:
    wanted = {**_EVERY, "features": list, "window_min": int, "output": str}
    return read_manifest(folder, wanted)


def read_manifest(folder: Path, wanted: Mapping[str, type], file: str = "manifest.toml") -> dict[str, Any]:
    """A model folder's manifest.toml, or another file that vouches. wanted: {key: type}. Raises ModelError."""
    path = folder / file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unread(path, error) from error
    return parse_manifest(data, path, wanted)


def parse_manifest(data: bytes, path: Path, wanted: Mapping[str, type]) -> dict[str, Any]:
    """path: where the bytes are from. Raises ModelError."""
    try:
        manifest = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _unread(path, error) from error
    wrong = [key for key, kind in wanted.items() if not isinstance(manifest.get(key), kind)]
    sums = manifest.get("sha256")
    if isinstance(sums, dict):
        wrong += [f"the SHA-256 of {file!r}" for file, digest in sums.items() if not isinstance(digest, str)]
    if wrong or ("output" in wanted and "model.onnx" not in manifest["sha256"]):  # without an output: no ONNX model
        raise ModelError(
            f"{path} lacks {', '.join(wrong) or 'the SHA-256 of model.onnx'}. "
            f"Expected {', '.join(wanted)}. Install the model's folder again."
        )
    return manifest


def _unread(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} cannot be read: {error}. Expected a model's manifest. Install the model's folder again.")


def check_hash(path: Path, expected: str) -> None:
    """Raises ModelError when a file is not the one that a manifest vouches for."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error}. The manifest lists it. Install the model's folder again."
        ) from error
    if found != expected.lower():  # some tools write capitals
        raise ModelError(
            f"{path} has SHA-256 {found[:12]}…. The manifest vouches for {expected[:12]}…. "
            "The file was changed or cut short: install the model's folder again."
        )

"""Model packages: a folder whose manifest is signed, checked in full, and laid beside what runs.

A package is manifest.toml, manifest.toml.minisig (by minisign) and the files whose SHA-256 the manifest lists. Only
those are ever copied; a package brings numbers, never code. Installed is STATE/models/NAME/VERSION; a folder appears
there whole or not at all, and is never changed afterwards.
"""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.signing import PublicKey, SignatureError, verify
from models.features import NAMES, WINDOW_MIN
from models.onnx_file import BYTES_MAX, opset_of
from models.package import check_hash, load, read_manifest
from models.session import ModelError
from models.trial import tried

MANIFEST, SIGNATURE = "manifest.toml", "manifest.toml.minisig"
PACKAGES = "models"  # below the state folder
MANIFEST_MAX, FILES_MAX = 64 * 1024, 16
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_VERSION = re.compile(r"(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_WANTED = {
    "name": str, "version": str, "window_min": int, "input": str, "output": str, "features": list, "opset": int,
    "bytes": int, "sha256": dict,
}  # fmt: skip


class Package(NamedTuple):
    """signer: name of the key, and what its trusted comment says. ms: CPU time of the trial, for 64 windows."""

    name: str
    version: str
    signer: str
    comment: str
    ms: float


def checked(folder: Path, keys: Sequence[PublicKey]) -> Package:
    """Everything that can be wrong with a package, cheapest first. Raises ModelError: found, expected, what to do."""
    manifest = _read(folder / MANIFEST, MANIFEST_MAX)
    try:
        signed = verify(manifest, _read(folder / SIGNATURE, MANIFEST_MAX).decode("utf-8", "replace"), keys)
    except SignatureError as error:
        raise ModelError(f"{folder / SIGNATURE}: {error}.") from error
    found = read_manifest(folder, _WANTED)  # believed only because it is signed
    name, version = found["name"], found["version"]
    if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
        raise ModelError(
            f"The manifest names {name!r} {version!r}. Expected a name of small letters, digits and hyphens, and a "
            "version such as 1.2.0. Correct it and sign again."
        )
    files: dict[str, str] = found["sha256"]
    strange = [file for file in files if not _FILE.fullmatch(file) or file in (MANIFEST, SIGNATURE)]
    if strange or len(files) > FILES_MAX:
        raise ModelError(
            f"The manifest lists {repr(strange[0]) if strange else f'{len(files)} files'}. Expected {FILES_MAX} plain "
            "file names at most, without folders. Correct it and sign again."
        )
    for file, digest in files.items():
        _size(folder / file, BYTES_MAX)
        check_hash(folder / file, str(digest))
    _model_fits(folder, found)
    trial = tried(folder)
    return Package(name, version, signed.key.name, signed.comment, trial["ms"])


def _model_fits(folder: Path, manifest: dict[str, object]) -> None:
    """The file is what the manifest says of it, and takes what this version computes. Raises ModelError."""
    data = (folder / "model.onnx").read_bytes()
    opset = opset_of(data)
    for key, is_now in (("bytes", len(data)), ("opset", opset)):
        if manifest[key] != is_now:
            raise ModelError(
                f"model.onnx has {key} {is_now}. The manifest says {manifest[key]}. Correct it and sign again."
            )
    if tuple(manifest["features"]) != NAMES or manifest["window_min"] != WINDOW_MIN:  # type: ignore[arg-type]
        raise ModelError(
            f"{folder} was trained for other features than this version computes. Expected {len(NAMES)} features of "
            f"{WINDOW_MIN} minutes: {', '.join(NAMES)}. Train it for this version, or install that version first."
        )


def install(folder: Path, keys: Sequence[PublicKey], models: Path) -> Package:
    """Check a package and lay it beside the others: models/NAME/VERSION. Raises ModelError; then nothing is changed.

    It is copied first and the copy is checked, so that what was checked is what will run.
    """
    coming = models / ".coming"
    try:
        shutil.rmtree(coming, ignore_errors=True)
        coming.mkdir(parents=True)
        _size(folder / MANIFEST, MANIFEST_MAX)
        listed = read_manifest(folder, {"sha256": dict})["sha256"]
        for file in (MANIFEST, SIGNATURE, *list(listed)[: FILES_MAX + 1]):
            if _FILE.fullmatch(file):
                _copy(folder / file, coming / file)
        package = checked(coming, keys)
        place = models / package.name / package.version
        if place.exists():
            raise ModelError(
                f"{package.name} {package.version} is installed already. Expected a new version. "
                "Raise the version in the manifest and sign again, or use the one that is there."
            )
        place.parent.mkdir(exist_ok=True)
        _synced(coming)
        os.rename(coming, place)
        _synced(place.parent)
    except OSError as error:
        raise ModelError(
            f"{models} cannot be written: {error}. Expected a folder with room. See linli doctor."
        ) from error
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    return package


def package_folder(models: Path, name: str, version: str) -> Path:
    """Where a version is installed. Raises ModelError: it is not."""
    there = [found for known, found, _ in installed_names(models) if known == name]
    if version not in there:
        raise ModelError(
            f"There is no {name} {version!r} here. There are: {', '.join(there) or 'none'}. Install its package first."
        )
    return models / name / version


def installed(models: Path) -> list[tuple[str, str, str]]:
    """(name, version, fault) of what is installed, "" for a sound one, by name and version."""
    found = []
    for name, version, path in installed_names(models):
        try:
            load(path)
            fault = ""
        except ModelError as error:
            fault = str(error)
        found.append((name, version, fault))
    return found


def installed_names(models: Path) -> list[tuple[str, str, Path]]:
    """(name, version, folder) of what lies there, by name and version."""
    every = [(path.parent.name, path.name, path) for path in models.glob("*/*/")]
    found = [row for row in every if _NAME.fullmatch(row[0]) and _VERSION.fullmatch(row[1])]
    return sorted(found, key=lambda row: (row[0], *map(int, row[1].split("."))))


def _read(path: Path, most: int) -> bytes:
    _size(path, most)
    return path.read_bytes()


def _size(path: Path, most: int) -> None:
    """A plain file that is not too large to read. Raises ModelError."""
    if path.is_symlink() or not path.is_file():
        raise ModelError(f"{path} is no plain file. Expected one in a model package. Copy the package again.")
    size = path.stat().st_size
    if size > most:
        raise ModelError(
            f"{path} has {size} bytes. Expected {most} at most, for a small box. "
            "Train a smaller model, or leave the file out."
        )


def _copy(of: Path, to: Path) -> None:
    _size(of, BYTES_MAX)
    to.write_bytes(of.read_bytes())
    _synced(to)


def _synced(path: Path) -> None:
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)

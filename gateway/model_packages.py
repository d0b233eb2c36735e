"""Model packages: a folder whose manifest is signed, checked in full, and laid beside what runs.

A package is manifest.toml, manifest.toml.minisig (by minisign) and the files whose SHA-256 the manifest lists. Only
those are ever copied; a package brings numbers, never code. Installed is STATE/models/NAME/VERSION; a folder appears
there whole or not at all, and is never changed afterwards.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gateway.signing import PublicKey, SignatureError, Signed, verify
from models.features import NAMES, WINDOW_MIN
from models.onnx_file import BYTES_MAX, opset_of
from models.package import check_hash, load, parse_manifest, with_packages
from models.session import ModelError
from models.trial import tried

MANIFEST, SIGNATURE = "manifest.toml", "manifest.toml.minisig"
PACKAGES, COMING = "models", ".coming"  # below the state folder, and below that while one is installed
MANIFEST_MAX, FILES_MAX = 64 * 1024, 16
OTHER_BYTES_MAX = (
    256 * 1024
)  # of a file that is not the model: all are read again, and held to the manifest, at each start
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_VERSION = re.compile(r"(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})", re.ASCII)
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
    signed, manifest = _signed(folder, keys)
    for file, digest in manifest["sha256"].items():
        _read(folder / file, _most(file))
        check_hash(folder / file, digest)
    _model_fits(folder, manifest)
    trial = tried(folder)
    return Package(manifest["name"], manifest["version"], signed.key.name, signed.comment, trial["ms"])


def _signed(folder: Path, keys: Sequence[PublicKey]) -> tuple[Signed, dict[str, Any]]:
    """Who signed the manifest, and what it says: no word of it is read before that. Raises ModelError."""
    data, signature = _read(folder / MANIFEST, MANIFEST_MAX), _read(folder / SIGNATURE, MANIFEST_MAX)
    try:
        signed = verify(data, signature.decode("utf-8", "replace"), keys)
    except SignatureError as error:
        raise ModelError(f"{folder / SIGNATURE}: {error}.") from error
    found = parse_manifest(data, folder / MANIFEST, _WANTED)
    name, version, known = found["name"], found["version"], with_packages()
    if name not in known or not _VERSION.fullmatch(version) or version == known[name]:
        came = ", which came with the program" if known.get(name) == version else ""
        raise ModelError(
            f"The manifest names {name!r} {version!r}{came}. Expected one of {', '.join(known)}, as this program can "
            "run no other, and a new version such as 1.2.0. Correct it and sign again."
        )
    files: dict[str, str] = found["sha256"]
    strange = [file for file in files if not _FILE.fullmatch(file) or file in (MANIFEST, SIGNATURE)]
    if strange or len(files) > FILES_MAX:
        raise ModelError(
            f"The manifest lists {repr(strange[0]) if strange else f'{len(files)} files'}. Expected {FILES_MAX} plain "
            "file names at most, without folders. Correct it and sign again."
        )
    return signed, found


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
    mask = os.umask(0o022)  # what root installs, the gateway's user must be able to read
    try:
        with _alone(models) as coming:
            for file in (MANIFEST, SIGNATURE):
                _copy(folder / file, coming / file, MANIFEST_MAX)
            for file in _signed(coming, keys)[1]["sha256"]:
                _copy(folder / file, coming / file, _most(file))
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
            for changed in (place.parent, models, models.parent):
                _synced(changed)
    except ModelError as error:  # the copy is gone by the time somebody reads this
        raise ModelError(str(error).replace(str(models / COMING), str(folder))) from error
    except OSError as error:
        raise ModelError(
            f"{models} cannot be written: {error}. Expected a folder with room. See linli doctor."
        ) from error
    finally:
        os.umask(mask)
    return package


@contextmanager
def _alone(models: Path) -> Iterator[Path]:
    """An empty folder in which nobody else builds, and which is gone afterwards. Raises ModelError, OSError."""
    models.mkdir(exist_ok=True, parents=True)
    held = os.open(models, os.O_RDONLY)
    coming = models / COMING
    try:
        _lock(held, models)
        try:
            shutil.rmtree(coming, ignore_errors=True)  # of one that was killed
            coming.mkdir()
            yield coming
        finally:
            shutil.rmtree(coming, ignore_errors=True)
    finally:
        os.close(held)  # and the lock with it; the system does so for whoever is killed


def _lock(held: int, models: Path) -> None:
    """Raises ModelError."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ModelError(
            f"Found another install at work in {models}. Expected one at a time. Try again when it has ended."
        ) from error


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


def _most(file: str) -> int:
    return BYTES_MAX if file == "model.onnx" else OTHER_BYTES_MAX


def _read(path: Path, most: int) -> bytes:
    """A plain file that is not too large. Opened first and judged then: nothing takes its place. Raises ModelError."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would wait for a writer
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
            raise _not_plain(path) from error
        raise ModelError(
            f"{path} cannot be opened: {error.strerror}. Expected a file of a model package. See its name and owner."
        ) from error
    try:
        status = os.fstat(held)
        if not stat.S_ISREG(status.st_mode):
            raise _not_plain(path)
        if status.st_size > most:
            raise ModelError(
                f"{path} has {status.st_size} bytes. Expected {most} at most, for a small box. "
                "Train a smaller model, or leave the file out."
            )
        with open(held, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(held)


def _not_plain(path: Path) -> ModelError:
    return ModelError(f"{path} is no plain file. Expected one in a model package. Copy the package again.")


def _copy(of: Path, to: Path, most: int) -> None:
    to.write_bytes(_read(of, most))
    _synced(to)


def _synced(path: Path) -> None:
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)

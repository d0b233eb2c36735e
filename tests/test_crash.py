"""A model's package that ends the whole process: at the next start it does not run any more."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway import crash
from gateway.detectors import Detectors
from gateway.model_packages import install
from tests.test_model_packages import KEYS, package

ROOT = Path(__file__).parent.parent


def died(folder: Path, code: str) -> None:
    """A process that watches, and then does this."""
    said = f"from pathlib import Path\nfrom gateway import crash\ncrash.watch(Path({str(folder)!r}))\n{code}"
    done = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0, done.stderr


IN_A_MODEL = """
import faulthandler
import numpy as np
from models.package import load_models
model = load_models(["water-leak"])["water-leak"]
model.session._session.run = lambda *_: faulthandler._sigfpe()
model.score([[0.0] * 60])
"""


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (IN_A_MODEL, True), ("import faulthandler\nfaulthandler._sigsegv()", False),
        ("import os\nos.kill(os.getpid(), 9)", False), ("raise SystemExit(3)", False),
    ],
    ids=["in a model", "elsewhere", "killed", "ended"],
)  # fmt: skip
def test_a_crash_says_where_it_was_and_what_is_none_says_nothing(tmp_path: Path, code: str, found: bool) -> None:
    died(tmp_path, code)
    crash.put_aside(tmp_path)
    assert crash.in_a_model(tmp_path) is found
    crash.put_aside(tmp_path)
    assert not crash.in_a_model(tmp_path), "once"


def test_a_folder_that_cannot_be_written_keeps_no_gateway_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crash.watch(tmp_path / "none")
    assert "would leave no word of where it was" in caplog.text


def test_a_version_that_crashed_the_gateway_is_rolled_back_at_the_next_start(tmp_path: Path) -> None:
    install(package(tmp_path / "new"), KEYS, tmp_path / "models")
    kept: dict[str, object] = {}
    one = Detectors.of_site({"water-leak": ["main"]}, kept, kept.__setitem__, tmp_path / "models")
    one.ask("shadow", "water-leak", "2.0.0", 0, "desk")
    one.ask("promote", "water-leak", "", 0, "desk")
    died(tmp_path, IN_A_MODEL)
    crash.put_aside(tmp_path)
    again = Detectors.of_site({"water-leak": ["main"]}, kept, kept.__setitem__, tmp_path / "models")
    [(name, data)] = again.decided()
    assert (name, data["value"], data["active"], again.fault) == ("water-leak", "rolled-back", "1.0.0", "")
    assert "Report it, with crash-before.txt of the state folder" in str(data["why"])

"""A model's first run, in a process of its own: `python -m models.trial FOLDER`. Whatever it does, it does it here.

Prints one JSON line, {"ms", "open_ms", "mib", "rest", "use", "leak"}; or the ModelError on stderr, with code 1.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from models.features import WINDOW_MIN
from models.package import AT_ONCE_MAX, load, load_models
from models.session import ModelError

WINDOWS = AT_ONCE_MAX
SCORE_MS_MAX = 50.0
"""CPU time that WINDOWS may take, best of three."""
OPEN_MS_MAX = 200.0
"""CPU time that opening may take, when the runtime is there already: nothing else happens on the box meanwhile."""
GROWTH_MIB_MAX = 64.0
"""What opening and scoring may add to the process at its largest."""
CPU_S_MAX = 10
"""CPU time of the whole trial, start of the runtime included."""
WALL_S_MAX = 60.0
MEMORY_MAX = 1 << 30
"""Bytes of address space. The runtime with a small model takes about a third."""
REST_MAX = 0.5
"""What a model may at most say of a pipe in which nothing flows, and of one from which a tap is used for a minute; and
must say more of one in which much flows for an hour without a pause."""


def tried(folder: Path) -> dict[str, float]:
    """Run a package's model in a process that cannot take this one with it. Raises ModelError."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "models.trial", str(folder.resolve())], cwd=Path(__file__).parent.parent,
            env=environment, capture_output=True, text=True, timeout=WALL_S_MAX, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"The model had not scored {WINDOWS} windows after {WALL_S_MAX:.0f} s. {_FASTER}") from error
    except OSError as error:  # no memory for another process
        raise ModelError(
            f"The trial of the model could not begin: {error}. Expected a process of its own for it. "
            "Try again when the box is less busy."
        ) from error
    _, refused, why = done.stderr.partition(_REFUSED)  # the runtime writes there, too, and before it
    if done.returncode == 1 and refused:
        raise ModelError(why.strip())
    if done.returncode != 0:
        # A signal, or no memory for the interpreter itself: the limits above.
        why = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise ModelError(
            f"The trial of the model ended with {why}. Expected it to run within {CPU_S_MAX} s of CPU time and "
            f"{MEMORY_MAX >> 20} MiB. Train a smaller model."
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


_REFUSED = "ModelError: "

_FASTER = f"Expected {SCORE_MS_MAX:.0f} ms of CPU time at most, for a small box. Train a smaller model."


def _try(folder: Path) -> dict[str, float]:
    load_models(["water-leak"])  # the runtime itself, which the gateway has, too
    before_mib, began_s = _peak_mib(), time.process_time()
    model = load(folder)
    open_ms = (time.process_time() - began_s) * 1e3
    rest = [0.0] * WINDOW_MIN
    use = [1e-4 if minute == WINDOW_MIN - 20 else 0.0 for minute in range(WINDOW_MIN)]  # 6 litres, 20 minutes ago
    leak = [1e-4] * WINDOW_MIN
    spent_ms = []
    for _ in range(3):
        before_s = time.process_time()
        scores = model.score([rest, use, leak, leak] * (WINDOWS // 4))
        spent_ms.append((time.process_time() - before_s) * 1e3)
        if spent_ms[-1] > 20 * SCORE_MS_MAX:
            break
    mib = _peak_mib() - before_mib
    _affordable(min(spent_ms), open_ms, mib)
    _sensible(scores)
    spent = {"ms": round(min(spent_ms), 3), "open_ms": round(open_ms, 1), "mib": round(mib, 1)}
    return {**spent, "rest": scores[0], "use": scores[1], "leak": scores[2]}


def _affordable(run_ms: float, open_ms: float, mib: float) -> None:
    """Raises ModelError."""
    if mib > GROWTH_MIB_MAX:
        raise ModelError(
            f"The model needs {mib:.0f} MiB to score {WINDOWS} windows. Expected {GROWTH_MIB_MAX:.0f} at most, for a "
            "small box. Train a smaller model."
        )
    if run_ms > SCORE_MS_MAX:
        raise ModelError(f"The model takes {run_ms:.0f} ms for {WINDOWS} windows. {_FASTER}")
    if open_ms > OPEN_MS_MAX:
        raise ModelError(
            f"The model takes {open_ms:.0f} ms of CPU time to open. Expected {OPEN_MS_MAX:.0f} at most, for a small "
            "box. Train a smaller model, and export it with its constants worked out."
        )


def _sensible(scores: list[float]) -> None:
    """Of a pipe at rest, one use of a tap, and a leak twice, over and over. Raises ModelError."""
    wrong = [score for score in scores if not 0.0 <= score <= 1.0]
    if wrong or len(scores) != WINDOWS:
        raise ModelError(
            f"The model answers {wrong[0] if wrong else f'{len(scores)} scores for {WINDOWS} windows'}. "
            "Expected one score from 0 to 1 a window. Export it with a sigmoid at its end."
        )
    if max(scores[:2]) > REST_MAX:
        what = "a pipe in which nothing flows" if scores[0] > REST_MAX else "a tap that was open for one minute"
        raise ModelError(
            f"The model scores {what} as {max(scores[:2]):.2f}. Expected {REST_MAX} at most: it would alarm "
            "constantly. Train it again, with days on which nothing leaks."
        )
    if scores[2] <= REST_MAX:
        raise ModelError(
            f"The model scores an hour of 100 ml/s without a pause as {scores[2]:.2f}. Expected more than {REST_MAX}: "
            "it would see no leak. Train it again, with leaks."
        )


def _peak_mib() -> float:
    """Of this process since it began; getrusage would count the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        print(json.dumps(_try(Path(sys.argv[1]))))
    except ModelError as error:
        print(f"{_REFUSED}{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

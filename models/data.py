"""Where training data lies. It is not part of the project: it has licences and a size of its own."""

from __future__ import annotations

import os
from pathlib import Path


def data_dir(name: str) -> Path:
    """The folder of one data set, below LINLI_DATA or else ../shared/data beside the project.

    Raises FileNotFoundError, which says where was looked and what to do.
    """
    root = Path(os.environ.get("LINLI_DATA") or Path(__file__).parents[2] / "shared" / "data")
    folder = root / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"No data set {name!r} in {root}. Training and some tests need it. "
            "Set LINLI_DATA to the folder that holds it; docs/models.md says where each comes from."
        )
    return folder

"""Commands as a city writes them, for the tests: good ones, and a key that signs."""

import json
import random
from typing import Any

from gateway.contract_commands import envelope
from gateway.signing import SecretKey, new_key, sign

NOW_S = 1_800_000_000.0
SESSION = 65_537
TO = "linli/house-a"


def key(seed: int) -> SecretKey:
    dice = random.Random(seed)
    return new_key(dice.randbytes(32), dice.randbytes(8))


CITY, STRANGER = key(1), key(2)


def body(**changed: Any) -> dict[str, Any]:
    """A good one; None leaves a word out."""
    said = {
        "request_id": "0001-acknowledge", "to": TO, "session": SESSION, "do": "acknowledge", "args": {"alarm": "leak"},
        "expires_at": NOW_S + 60, "by": "张三",
    } | changed  # fmt: skip
    return {word: value for word, value in said.items() if value is not None}


def signed(said: dict[str, Any], by: SecretKey = CITY) -> bytes:
    text = json.dumps(said, ensure_ascii=False)
    return envelope(text, sign(text.encode(), by, "it"))


def asked(**changed: Any) -> bytes:
    """A good read."""
    return envelope(json.dumps(body(do="state", args=None, expires_at=None, by=None) | changed), None)

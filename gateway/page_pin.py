"""`linli page pin --state DIR`: the PIN of the staff's page. Kept as a salted scrypt hash, 0600, beside the database.

Who knows it has a session in this program's memory: an end, a token for forms, and over with the PIN that opened it.
"""

import argparse
import getpass
import hashlib
import hmac
import json
import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec

from gateway.words import LANGUAGES, PAGE_WORDS, Words

log = logging.getLogger(__name__)

FILE = "page-pin"
LENGTH_MIN, LENGTH_MAX = 6, 64
GOOD, CHECK_FAILED = 0, 1
_COST = {"n": 2**14, "r": 8, "p": 1}  # 16 MiB and some 50 ms
_DIFFERENT_MIN = 3
SESSION_S = 8 * 3600.0  # a working day, then the PIN is asked for again
SESSIONS_MAX = 32
TRIES = ((5, 60.0), (30, 3600.0))
"""So many wrong PINs in so many seconds, of all clients together: a million PINs take years."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, default=LANGUAGES[0])


def run(args: argparse.Namespace) -> int:
    """0: set. 1: it is none, or cannot be kept. From a terminal it is asked for twice, else it is the first line."""
    say = Words(args.lang, PAGE_WORDS)
    pin = _typed(say("pin.ask")) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if weak := weakness(pin):
        print(say(weak, least=LENGTH_MIN, most=LENGTH_MAX), file=sys.stderr)
        return CHECK_FAILED
    if sys.stdin.isatty() and _typed(say("pin.again")) != pin:
        print(say("pin.differ"), file=sys.stderr)
        return CHECK_FAILED
    try:
        keep(args.state, pin)
    except OSError as error:
        print(say("pin.unwritable", folder=args.state, why=error.strerror), file=sys.stderr)
        return CHECK_FAILED
    print(say("pin.set"))
    return GOOD


def _typed(prompt: str) -> str:
    """ "" also for who ends the input instead."""
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


def weakness(pin: str) -> str:
    """The key of what is wrong with it, "" for nothing."""
    if not LENGTH_MIN <= len(pin) <= LENGTH_MAX or not pin.isprintable():
        return "pin.length"
    steps = {ord(after) - ord(before) for before, after in pairwise(pin)}
    return "pin.weak" if len(set(pin)) < _DIFFERENT_MIN or steps in ({1}, {-1}) else ""


def keep(folder: Path, pin: str) -> None:
    """Whole or not at all, and the gateway's user's even when root sets it. Raises OSError."""
    salt = secrets.token_bytes(16)
    text = json.dumps({"salt": salt.hex(), **_COST, "hash": _hashed(pin, salt, _COST).hex()})
    new = folder / f"{FILE}.new"
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        owner = folder.stat()
        if os.geteuid() == 0:
            os.fchown(file, owner.st_uid, owner.st_gid)
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(folder / FILE)


def _hashed(pin: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=salt, maxmem=64 * 2**20, dklen=32, **cost)


class Pin:
    """What is kept, read anew each time: a PIN that is set while the page runs counts at once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def stamp(self) -> str:
        """Of the PIN that is set, "" for none; one that cannot be read lets nobody in."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError):
            return "unreadable"
        return hashlib.sha256(text.encode()).hexdigest()

    def fits(self, pin: str) -> bool:
        """Takes some 50 ms of a core."""
        try:
            kept = json.loads(self._path.read_text())
            cost = {name: int(kept[name]) for name in _COST}
            return hmac.compare_digest(_hashed(pin, bytes.fromhex(kept["salt"]), cost), bytes.fromhex(kept["hash"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            log.error(
                "%s: found %s, expected a PIN that can be read; run linli page pin", self._path, repr(error)[:200]
            )
            return False


class Tries:
    """How often a wrong PIN may be tried, whoever tries."""

    def __init__(self, mono_s: Callable[[], float]) -> None:
        self._mono_s = mono_s
        self._tried_s: deque[float] = deque(maxlen=max(count for count, _ in TRIES))

    def wait_s(self) -> float:
        """Until the next one may be; 0: now."""
        now_s = self._mono_s()
        waits = [self._tried_s[-count] + within_s - now_s for count, within_s in TRIES if len(self._tried_s) >= count]
        return max(0.0, *waits) if waits else 0.0

    def begin(self) -> None:
        """Counted before it is judged, so that many at once are not one."""
        self._tried_s.append(self._mono_s())

    def was_right(self) -> None:
        self._tried_s.pop()


class Session(msgspec.Struct):
    """stamp: of the PIN that opened it. said: what is told once, on the next page."""

    form: str
    until_s: float
    stamp: str
    said: list[tuple[bool, str]] = []


class Sessions:
    def __init__(self, mono_s: Callable[[], float]) -> None:
        self._mono_s = mono_s
        self._open: dict[str, Session] = {}

    def open(self, stamp: str) -> tuple[str, Session]:
        """(what the browser keeps, the session). At the bound the oldest ends."""
        token = secrets.token_urlsafe(32)
        session = Session(secrets.token_urlsafe(32), self._mono_s() + SESSION_S, stamp)
        while len(self._open) >= SESSIONS_MAX:
            self._open.pop(next(iter(self._open)))
        self._open[_named(token)] = session
        return token, session

    def find(self, token: str, stamp: str) -> Session | None:
        session = self._open.get(_named(token))
        if session and (session.until_s <= self._mono_s() or session.stamp != stamp):
            self.close(token)
            return None
        return session

    def close(self, token: str) -> None:
        self._open.pop(_named(token), None)


def _named(token: str) -> str:
    """Compared by its hash, so that a look-up tells no times."""
    return hashlib.sha256(token.encode()).hexdigest()

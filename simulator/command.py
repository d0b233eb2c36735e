"""`linli command`: the city's side of a command. Looks up the session, signs, sends, waits for the result.

The reference for an integrator's own client; docs/commands.md has the rules it keeps.
"""

import argparse
import getpass
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock
from gateway.contract import GATEWAY_PATTERN, Topics
from gateway.contract_commands import ARGS, EXPIRES_MAX_S, OPERATE, READ, envelope
from gateway.signing import SecretKey, SignatureError, parse_secret_key, sign
from simulator.mqtt import Connection, Tls, parse_url

GOOD, FAILED, WRONG_USE = 0, 1, 2
AGAIN_S = 5.0  # without a result the very same message is sent once more
_TURN_S = 0.05


class CommandError(Exception):
    """It did not come to a result: found, expected, what to do."""


class Caller:
    """One connection to the broker, for commands to one gateway. key: None for what needs no signature."""

    def __init__(
        self, url: str, root: str, gateway: str, key: SecretKey | None, clock: SystemClock, dice: random.Random,
        *, version: int = 5, tls: Tls | None = None,
    ) -> None:  # fmt: skip
        self._topics = Topics(root, gateway)
        self._key = key
        self._clock = clock
        self._dice = dice
        self._status: dict[str, Any] = {}
        self._results: dict[str, dict[str, Any]] = {}
        client_id = f"linli-command-{dice.getrandbits(32):08x}"
        self._link = Connection(url, client_id, self._heard, version=version, tls=tls, keeps=False)

    def _heard(self, topic: str, payload: bytes) -> None:
        said = json.loads(payload)
        if topic == self._topics.status:
            if said["session"] >= self._status.get("session", 0):
                self._status = said
        else:
            self._results[said["request_id"]] = said

    def open(self, wait_s: float) -> None:
        """Until the gateway's status is known. Raises CommandError."""
        end_s = self._clock.mono_s() + wait_s
        if not self._link.open():
            raise CommandError(f"found no broker: {self._link.error}, expected one; see --broker")
        self._until(lambda: self._link.up, end_s, "no welcome by the broker")
        self._link.subscribe([self._topics.status, self._topics.result])
        self._until(lambda: self._link.ready, end_s, "no answer to SUBSCRIBE")
        self._until(lambda: bool(self._status), end_s, f"nothing retained on {self._topics.status}")
        if self._status["state"] != "online":
            raise CommandError(f"found {self._topics.source} offline, expected it online; a command is never queued")

    def call(self, do: str, args: dict[str, Any], by: str, wait_s: float) -> dict[str, Any]:
        """The result. Raises CommandError."""
        kind = OPERATE if do in ARGS[OPERATE] else READ
        now_s = self._clock.wall_s()
        body: dict[str, Any] = {
            "request_id": f"{int(now_s)}-{self._dice.getrandbits(48):012x}", "to": self._topics.source, "do": do,
            "session": self._status["session"], "args": args, "expires_at": now_s + min(wait_s, EXPIRES_MAX_S),
        }  # fmt: skip
        text = json.dumps(body | ({"by": by} if by else {}), ensure_ascii=False)
        payload = envelope(text, sign(text.encode(), self._key, f"{kind} by {by}") if self._key else None)
        end_s = self._clock.mono_s() + wait_s
        while body["request_id"] not in self._results:
            if not self._link.publish(self._topics.down(kind), payload):
                raise CommandError(f"found no way to send it: {self._link.error}, expected one; try again")
            try:
                self._until(
                    lambda: body["request_id"] in self._results, min(end_s, self._clock.mono_s() + AGAIN_S), "no result"
                )
            except CommandError:
                if self._clock.mono_s() >= end_s or self._link.error:
                    raise
        return self._results.pop(body["request_id"])

    def _until(self, ready: Callable[[], bool], end_s: float, lack: str) -> None:
        while not ready():
            if not self._link.turn(_TURN_S):
                raise CommandError(f"found no broker any more: {self._link.error}, expected one; try again")
            self._link.settle()
            if self._clock.mono_s() >= end_s:
                raise CommandError(f"found {lack}, expected it in time; see the gateway, uplink.obey and the ACL")

    def close(self) -> None:
        self._link.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", required=True, metavar="URL", help="mqtt://[user:password@]host:port, or mqtts")
    parser.add_argument("--gateway", required=True, metavar="ID", help="which box")
    parser.add_argument("--root", default="linli", help="the tenant's part of the topics (default: linli)")
    parser.add_argument("--sign", type=Path, metavar="FILE", help="minisign's secret key; what is operated needs it")
    parser.add_argument("--by", default="", metavar="WHO", help="who wants it, for the record")
    parser.add_argument("--wait", type=float, default=30.0, metavar="S", help="for the result (default 30)")
    parser.add_argument("--mqtt", choices=("5", "3.1.1"), default="5", help="(default: 5)")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="who signed the broker's certificate")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="the city's own certificate")
    parser.add_argument("--key", type=Path, metavar="FILE", help="and its key")
    parser.add_argument("do", choices=[*ARGS[READ], *ARGS[OPERATE]])
    parser.add_argument("args", nargs="*", metavar="NAME=VALUE", help="JSON, or else a text: alarm=leak minutes=5")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: refused, or no answer. 2: wrong use."""
    if wrong := _mistake(args):
        print(f"linli command: {wrong}", file=sys.stderr)
        return WRONG_USE
    try:
        key = parse_secret_key(args.sign.read_text(), getpass.getpass) if args.sign else None
    except (OSError, SignatureError) as error:
        print(f"linli command: {args.sign}: {error}", file=sys.stderr)
        return WRONG_USE
    caller = Caller(
        args.broker, args.root, args.gateway, key, SystemClock(), random.SystemRandom(),
        version=5 if args.mqtt == "5" else 4, tls=Tls(args.ca, args.cert, args.key),
    )  # fmt: skip
    try:
        caller.open(args.wait)
        found = caller.call(args.do, dict(map(_pair, args.args)), args.by, args.wait)
    except CommandError as error:
        print(f"linli command: {error}", file=sys.stderr)
        return FAILED
    finally:
        caller.close()
    print(json.dumps(found, ensure_ascii=False, indent=2))
    return GOOD if found["status"] == "done" else FAILED


def _mistake(args: argparse.Namespace) -> str:
    try:
        parse_url(args.broker)
    except ValueError as error:
        return str(error)
    if not GATEWAY_PATTERN.fullmatch(args.gateway):
        return f"found --gateway {args.gateway!r}, expected 3 to 40 of a-z, 0-9 and -; see status on the broker"
    if odd := [word for word in args.args if "=" not in word]:
        return f"found {odd[0]!r}, expected NAME=VALUE; write for example alarm=leak"
    if args.do in ARGS[OPERATE] and not (args.sign and args.by):
        return f"found {args.do} without --sign or --by, expected both: it is done for a signature and a name; add them"
    return ""


def _pair(word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value

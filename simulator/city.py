"""`linli city`: the city's side of the contract. Listens, keeps the ledger, and acknowledges what is on the disk.

One thread: it turns the connection, takes what comes, commits, tells the broker, tells the gateways, in this order.
Messages that arrive while a commit runs make up the next one, so a slow disk means larger commits, not a longer queue.
"""

import argparse
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from gateway.clock import SystemClock
from gateway.contract import Topics
from simulator.ledger import Ledger
from simulator.ledger_file import LedgerError
from simulator.ledger_view import view
from simulator.mqtt import CONNECT_S, Connection, Tls, parse_url

COMMIT_S = 0.1  # nothing waits longer for its commit while more is coming
COMMIT_MESSAGES = 256
_TURN_S = 0.05
_BACKOFF_MIN_S, _BACKOFF_MAX_S = 0.2, 3.0
GOOD, FAILED, WRONG_USE = 0, 1, 2


class City:
    """A ledger on a broker. acking: whether gateways are answered. say: where outages are told, once each way.

    version: "auto", "5" or "3.1.1". Raises sqlite3.Error when the ledger's disk takes no more.
    """

    def __init__(
        self,
        ledger: Ledger,
        url: str,
        clock: SystemClock,
        dice: random.Random,
        *,
        root: str = "linli",
        acking: bool = False,
        version: str = "auto",
        tls: Tls | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._ledger = ledger
        self._url = url
        self._clock = clock
        self._dice = dice
        self._root = root
        self._acking = acking
        self._versions = {"auto": [5, 4], "5": [5], "3.1.1": [4]}[version]
        self._tls = tls
        self._say = say
        self._client_id = ledger.about("client", f"linli-city-{dice.getrandbits(32):08x}")
        self._trouble = ""
        self._refused = False
        self._first, self._first_s = 0, 0.0  # of what waits for its commit: its number, and when it came
        self.listening = threading.Event()  # subscribed: whatever is published from now on is heard
        self.taken = 0

    def run(self, stop: threading.Event, seconds: float = float("inf")) -> None:
        """Until `stop` is set or the seconds are over; then what was taken is committed."""
        end_s = self._clock.mono_s() + seconds
        wait_s = _BACKOFF_MIN_S
        while not stop.is_set() and self._clock.mono_s() < end_s:
            if self._connected(stop, end_s):
                wait_s = _BACKOFF_MIN_S
            if not stop.is_set() and self._clock.mono_s() < end_s:
                stop.wait(min(wait_s * self._dice.uniform(0.5, 1.0), max(0.0, end_s - self._clock.mono_s())))
                wait_s = min(2 * wait_s, _BACKOFF_MAX_S)

    def _connected(self, stop: threading.Event, end_s: float) -> bool:
        """One connection, from its opening to its end. Whether it got as far as listening."""
        link = Connection(self._url, self._client_id, self._take, version=self._versions[0], tls=self._tls)
        try:
            if link.open():
                self._attend(link, stop, end_s)
                if not link.answered:  # a broker that does not know this version may just close the line
                    self._versions = self._versions[1:] + self._versions[:1]
            self._commit(link)
            return self.listening.is_set()
        finally:
            link.close()
            if not stop.is_set() and self._clock.mono_s() < end_s:
                self._lost(link)
            self.listening.clear()

    def _attend(self, link: Connection, stop: threading.Event, end_s: float) -> None:
        late_s = self._clock.mono_s() + CONNECT_S
        asked = False
        while not stop.is_set() and (now_s := self._clock.mono_s()) < end_s:
            before = self.taken
            if not link.turn(0.0 if self._ledger.waiting else _TURN_S):
                return
            if link.up and not asked:
                asked = True
                link.subscribe(self._filters())
            if link.ready and not self.listening.is_set():
                self._begun(link)
            if not link.ready and now_s >= late_s:
                link.error = link.error or f"no welcome within {CONNECT_S:.0f} s"
                return
            if self._is_due(now_s, came=self.taken - before):
                self._commit(link)
            if self._acking and link.ready:
                self._answer(link, now_s)

    def _filters(self) -> list[str]:
        every = Topics(self._root, "+")
        return [every.status, every.meta, every.state, f"{every.up('events').removesuffix('events')}#"]

    def _take(self, topic: str, payload: bytes) -> None:
        if not self._ledger.waiting:
            self._first_s = self._clock.mono_s()
            self._first = self.taken
        self.taken += 1
        self._ledger.take(topic, payload, self._clock.wall_s())

    def _is_due(self, now_s: float, came: int) -> bool:
        """Everything that was there is taken, or it is enough, or it has waited long enough."""
        if not self._ledger.waiting:
            return False
        return not came or self.taken - self._first >= COMMIT_MESSAGES or now_s - self._first_s >= COMMIT_S

    def _commit(self, link: Connection) -> None:
        self._ledger.commit()
        link.settle()

    def _answer(self, link: Connection, now_s: float) -> None:
        for gateway, payload in self._ledger.acks(now_s, link.room):
            link.publish(Topics(self._root, gateway).ack, payload)
        if link.refused and not self._refused:
            self._refused = True  # told once a connection
            self._say("city: the broker refuses acks; expected an ACL that lets the city write down/ack")

    def _begun(self, link: Connection) -> None:
        self._ledger.say_again()
        self._trouble = ""
        self._refused = False
        self.listening.set()
        words = "acknowledging" if self._acking else "listening only"
        version = "5" if link.version == 5 else "3.1.1"
        self._say(f"city: {words} on {_public(self._url)} as {self._client_id} (MQTT {version})")

    def _lost(self, link: Connection) -> None:
        if not self._trouble:
            self._trouble = link.error or "connection over"
            self._say(f"city: no broker at {_public(self._url)}: {self._trouble}; trying again until it is there")


def _public(url: str) -> str:
    """The address without its password."""
    address = parse_url(url)
    return f"{address.host}:{address.port}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="URL", help="mqtt://[user:password@]host:port, or mqtts")
    parser.add_argument("--db", metavar="FILE", type=Path, required=True, help="the ledger; made when it is not there")
    parser.add_argument("--ack", action="store_true", help="acknowledge what is in the ledger; else only listen")
    parser.add_argument("--root", default="linli", help="the tenant's part of the topics (default: linli)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long (default: never)")
    parser.add_argument("--view", action="store_true", help="show what the ledger holds, and end")
    parser.add_argument("--mqtt", choices=("auto", "5", "3.1.1"), default="auto", help="(default: auto)")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="who signed the broker's certificate")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="the city's own certificate")
    parser.add_argument("--key", type=Path, metavar="FILE", help="and its key")


def run(arguments: argparse.Namespace) -> int:
    try:
        return _view(arguments) if arguments.view else _serve(arguments)
    except LedgerError as error:
        print(f"linli city: {error}", file=sys.stderr)
        return WRONG_USE
    except sqlite3.Error as error:
        print(
            f"linli city: {arguments.db}: {error}; expected a ledger that takes more; make room and start again: "
            "what was not acknowledged is sent again",
            file=sys.stderr,
        )
        return FAILED


def _view(arguments: argparse.Namespace) -> int:
    ledger = Ledger(arguments.db, arguments.root, watching=True)
    print(view(ledger))
    ledger.close()
    return GOOD


def _serve(arguments: argparse.Namespace) -> int:
    try:
        parse_url(arguments.broker or "")
    except ValueError as error:
        print(f"linli city: {error}", file=sys.stderr)
        return WRONG_USE
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    ledger = Ledger(arguments.db, arguments.root)
    try:
        city = City(
            ledger,
            arguments.broker,
            SystemClock(),
            random.Random(),
            root=arguments.root,
            acking=arguments.ack,
            version=arguments.mqtt,
            tls=Tls(arguments.ca, arguments.cert, arguments.key),
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
        city.run(stop, arguments.seconds)
    finally:
        ledger.close()
    return GOOD

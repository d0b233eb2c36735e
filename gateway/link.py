"""Where the city is and who we say we are: what the uplink needs to know, and what it tells. No paho in here."""

import logging
import os
import random
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.contract import Topics
from gateway.contract_commands import CLASSES

log = logging.getLogger(__name__)

V5, V311 = 5, 4  # the protocol levels that CONNECT names
_BACKOFF_S = (0.5, 1, 2, 5, 10, 30)
_STEADY_S = 10.0  # a connection that lasted: whoever is thrown out sooner waits longer each time
_STARTS_SHIFT = 20  # a million connections of one start; 2**33 starts still fit what every JSON reader keeps exactly


class Link(NamedTuple):
    """Where and how: from the site file's [uplink] and [tls]. profile: "tls1.2+" or "tls1.3". obey: classes."""

    broker: str
    gateway: str
    topics: Topics
    mqtt: str = "auto"
    confirm: str = "city"
    window: int = 16
    keepalive_s: int = 50
    gzip: bool = True
    resend_s: float = 600
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    profile: str = "tls1.2+"
    obey: tuple[str, ...] = ()

    @property
    def commands(self) -> dict[str, str]:
        """{topic: class} of what the city may send: all classes are heard, so that each is answered, or none."""
        return {self.topics.down(kind): kind for kind in CLASSES} if self.obey else {}

    @property
    def host(self) -> str:
        return urlsplit(self.broker).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.broker).port or (8883 if self.secure else 1883)

    @property
    def secure(self) -> bool:
        """By the address alone: an address that says TLS is never tried without."""
        return self.broker.startswith("mqtts://")


class Identity(NamedTuple):
    """What the status says of this start. starts: how often the gateway was started; it never goes back."""

    starts: int
    boot: int
    cfg: str
    versions: dict[str, object]

    def session(self, connection: int) -> int:
        """The number of this start's nth connection: higher than that of any connection before it."""
        return (self.starts << _STARTS_SHIFT) + connection


class State(msgspec.Struct):
    """How the uplink is; written by its thread, read by anyone."""

    connected: bool = False
    behind: bool = True  # the city is away, or a backlog is still to go
    connections: int = 0
    packs_sent: int = 0
    bytes_sent: int = 0
    acked: dict[str, int] = {}
    city_heard_s: float | None = None
    trouble: str = ""
    troubles: dict[str, str] = {}

    def say(self, kind: str, text: str) -> None:
        """kind: "link", "publish", "ack", "commands", "flood", "keys"; each ends by itself, with an empty text."""
        before = self.troubles.get(kind, "")
        if text == before:
            return
        if text and (not before or kind == "link"):  # what each bad ack says would fill the log
            log.warning("uplink: %s", text)
        elif not text:
            log.info("uplink: well again: %s", kind)
        self.troubles[kind] = text
        self.trouble = "; ".join(filter(None, self.troubles.values()))


class Wake:
    """Ends a `select` on `fd` from another thread."""

    def __init__(self) -> None:
        self.fd, self._end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def ring(self) -> None:
        try:
            os.write(self._end, b"w")
        except BlockingIOError:
            pass  # it rings already

    def clear(self) -> None:
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass  # it did not ring


class Versions:
    """Which MQTT is tried next. With "auto": some brokers of 3.1.1 say that they do not know 5, some hang up, some
    never say a word."""

    def __init__(self, wanted: str) -> None:
        self.now = V311 if wanted == "3.1.1" else V5
        self._auto = wanted == "auto"
        self._knows_v5 = False

    def learn(self, *, answered: bool, unsupported: bool) -> None:
        """What became of a connection that something took. answered: there was a CONNACK, whatever it said."""
        self._knows_v5 |= self.now == V5 and answered and not unsupported
        if not self._auto:
            return
        if self.now == V5 and (unsupported or not (answered or self._knows_v5)):
            self.now = V311
        elif self.now == V311 and not answered:
            self.now = V5


class Backoff:
    """How long to wait before the next connection: longer each time, with jitter."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._failures = 0

    def after(self, lasted_s: float, wait_s: float = 0.0) -> float:
        """lasted_s: how long the last one was up. wait_s: instead of the usual time."""
        self._failures = 0 if lasted_s >= _STEADY_S else self._failures + 1
        usual_s = _BACKOFF_S[min(max(0, self._failures - 1), len(_BACKOFF_S) - 1)]
        return (wait_s or usual_s) * self._dice.uniform(0.5, 1.0)


def tls_context(link: Link) -> ssl.SSLContext:
    """Chain and name of the broker are checked. Without a `ca` the system's list counts. Raises OSError."""
    try:
        context = ssl.create_default_context(cafile=link.ca)
        if link.cert:
            context.load_cert_chain(link.cert, link.key, password="")  # never asks on the terminal
    except OSError as error:
        files = ", ".join(name for name in (link.ca, link.cert, link.key) if name)
        raise OSError(f"{files}: {error}; expected readable PEM files; see tls in the site file") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if link.profile == "tls1.3" else ssl.TLSVersion.TLSv1_2
    return context

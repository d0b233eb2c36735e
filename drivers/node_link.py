"""The gateway's end of the link to a MicroPython node: bytes in, Reading, Event and Lost out. Opens no port.

Every frame that is taken yields exactly one fact, so that a number is never silently missing: what a node sends
in good order but no one can read comes out as Lost.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from struct import Struct
from types import MappingProxyType

from drivers import node_frame
from drivers.kinds import LOOP_STATES
from drivers.node_frame import ACK, ASK, BEAT, CONFIG, DATA, EVENT, HELLO, LOST, NACK, REFUSED
from drivers.node_settings import PART_BYTES, cfg_of
from drivers.numbered import NumberedLink
from drivers.reading import FAULT, GOOD, Event, Fact, Lost, Reading, Run, Said, Value

# A whole DATA or EVENT body as the splitter hands it over: header, payload, CRC.
_VALUE_BODY = Struct("<BIIBHIdI")
_VALUE_BODY_BYTES = _VALUE_BODY.size
_VALUES = (DATA, EVENT)

# What the codes of a point that is no plain number mean; None: a plain number. A missing code is a fault.
Words = dict[float, Value] | None
_WORDS_BY_KIND: dict[str, Words] = {
    "loop": {float(code): state for code, state in enumerate(LOOP_STATES)},
    "contact": {0.0: False, 1.0: True},
    "pad": {},
}
_POINTS_MAX = 1024  # a HELLO that claims more is nonsense, and must not fill the memory
_SETTINGS_AGAIN_S, _SETTINGS_AGAIN_MAX_S = 1.0, 60.0


class NodeLink(NumberedLink):
    """One node. See NumberedLink for what it tells about itself; its beat has uptime_s, free_b, reset_cause, supply_mv.

    error: why the node's HELLO was not accepted, or "". wanted: {bus: points that the site file names}, all nodes.
    settings: the text it is to have (drivers/node_settings.py), None to leave it alone. A node whose HELLO names others
    gets them, again after 1 to 60 s, until it names these or refuses them. cfg: what it named; None: it takes none.
    """

    def __init__(
        self, source: str, mono_s: Callable[[], float], mark: tuple[int, int] = (0, 0), settings: str | None = None,
        wanted: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.firmware = ""
        self.error = ""
        self._wanted = wanted.get(source, ())
        self._others = {bus: points for bus, points in wanted.items() if bus != source}
        self.cfg: int | None = None
        self._settings = settings
        self._wanted_cfg = cfg_of(settings or "")
        self._settings_s: float | None = None  # when to send them next; None: no need to
        self._settings_wait_s = _SETTINGS_AGAIN_S
        self._splitter = node_frame.Splitter()
        self._points: list[tuple[str, Words]] = []
        self._names: list[str] = []
        self._plain: frozenset[int] = frozenset()  # points that are simply numbers
        super().__init__(source, mono_s, mark, self._splitter)

    def feed(self, data: bytes) -> list[Fact]:
        """The facts that these bytes complete, one by one, in the node's order."""
        facts: list[Fact] = []
        for said in self.hear(data):
            facts += said.readings() if isinstance(said, Run) else [said]
        return facts

    def hear(self, data: bytes) -> Sequence[Said]:
        """What these bytes complete, in the node's order."""
        bodies = self._splitter.bodies(data)
        if not bodies:
            return []
        now_s = self.last_heard_s = self._mono_s()
        run = self._run(bodies, now_s)
        if run:
            return [run]
        facts: list[Fact] = []
        for body in bodies:
            self._take(body, now_s, facts)
        return facts

    def _run(self, bodies: list[bytes], now_s: float) -> Run | None:
        """All at once when it is nothing but the next plain values, as on a busy line. Else None, and none is taken."""
        numbered = self._numbered
        if not numbered.known or set(map(len, bodies)) != {_VALUE_BODY_BYTES}:
            return None
        rows = _VALUE_BODY.iter_unpack(b"".join(bodies))
        kinds, boots, seqs, _, indexes, ages_ms, values, _ = zip(*rows, strict=True)
        first = numbered.received + 1
        in_order = set(boots) == {numbered.boot} and seqs == tuple(range(first, first + len(seqs)))
        if not in_order or set(kinds) != {DATA} or not self._plain.issuperset(indexes) or not isfinite(sum(values)):
            return None
        numbered.took(seqs[-1])
        names = self._names
        monos_s = [now_s - age_ms * 0.001 for age_ms in ages_ms]
        return Run(self.source, numbered.boot, first, [names[index] for index in indexes], values, monos_s)

    def _value(self, index: int, value: float, at_s: float, boot: int, seq: int, urgent: bool) -> Fact:
        """A number, a code, a rating, or a fault of the node's."""
        if index >= len(self._points):
            return Reading(f"{self.source}:point{index}", value, at_s, boot, seq, FAULT, urgent)
        point, words = self._points[index]
        if words is None and isfinite(value):
            return Reading(point, value, at_s, boot, seq, GOOD, urgent)
        if words is None or (words and value not in words):
            return Reading(point, value, at_s, boot, seq, FAULT, urgent)
        if words:
            return Reading(point, words[value], at_s, boot, seq, GOOD, urgent)
        if value not in (0, 1, 2, 3, 4, 5):
            self.frames_odd += 1
            return Lost(self.source, boot, seq, seq, at_s)
        rating: dict[str, object] = {"value": int(value) or None, "pad": point}
        return Event(self.source, "ticket.rated", rating, at_s, boot, seq)

    def _take(self, body: bytes, now_s: float, facts: list[Fact]) -> None:
        """Any one frame."""
        kind, boot, seq, payload = node_frame.header(body)
        try:
            if kind in _VALUES and len(body) == _VALUE_BODY_BYTES:
                if self._numbered.accept(boot, seq):
                    index, age_ms, value = node_frame.parse_data(payload)
                    facts.append(self._value(index, value, now_s - age_ms * 0.001, boot, seq, kind == EVENT))
                return
            if kind == HELLO:
                self._hello(boot, seq, payload, now_s, facts)
            elif kind == BEAT:
                values = node_frame.parse_beat(payload)
                self.beat = dict(zip(("uptime_s", "free_b", "reset_cause", "supply_mv"), values, strict=True))
            elif kind == REFUSED:
                cfg, why = node_frame.parse_refused(payload)
                if cfg == self._wanted_cfg and self._settings is not None:
                    self.refused, self._settings_s = why, None
            elif kind in (DATA, EVENT, LOST):
                # A value that got here has a wrong length: asking again would never end.
                first = node_frame.parse_lost(payload) if kind == LOST and len(payload) == 4 else seq
                gone = self._numbered.lost(boot, first, seq)
                if gone:
                    self.frames_odd += kind != LOST
                    facts.append(Lost(self.source, boot, *gone, now_s))
            else:
                self.frames_odd += 1
        except ValueError:
            self.frames_odd += 1

    def _hello(self, boot: int, oldest: int, payload: bytes, now_s: float, facts: list[Fact]) -> None:
        try:
            proto, ring, text = node_frame.parse_hello(payload)
            if proto != node_frame.PROTO:
                raise ValueError(f"it speaks version {proto} of the node link")
            firmware, points, more = _points_of(self.source, text)
        except ValueError as why:
            self.error = (
                f"The node on {self.source} said a HELLO that cannot be used: {why}. Expected: version "
                f"{node_frame.PROTO} and points such as 'fw;flow*2 loop*4'. Put the firmware of this release on it."
            )
            raise
        if not self._fits({point.partition(":")[2] for point, _ in points}):
            return
        if self._points and points != self._points:
            self._numbered.replaced()
        self.ring, self.firmware, self._points = ring, firmware, points
        self._names = [name for name, _ in points]
        self._plain = frozenset(index for index, (_, words) in enumerate(points) if words is None)
        if boot != self.boot:
            self.refused = ""  # started again, perhaps with other firmware
        gone = self._numbered.hello(boot, oldest, ring, int(more.get("next", "0")))
        if gone:
            facts.append(Lost(self.source, boot, *gone, now_s))
        cfg = int(more["cfg"], 16) if "cfg" in more else None
        differs = self._settings is not None and cfg is not None and cfg != self._wanted_cfg
        if not differs:
            self._settings_s, self._settings_wait_s, self.refused = None, _SETTINGS_AGAIN_S, ""
        elif self._settings_s is None and not self.refused:
            self._settings_s = now_s
        self.cfg = cfg

    def _fits(self, here: set[str]) -> bool:
        """Whether what it says may be taken: not when it has what another socket's node should have, and lacks ours."""
        missing, has = [point for point in self._wanted if point not in here], ", ".join(sorted(here)) or "no point"
        self.error = ""
        if not missing:
            return True
        lacks = f"The node on {self.source} has {has}, and no {', '.join(missing)}, which the site file wants there"
        theirs = [bus for bus, points in self._others.items() if points and here.issuperset(points)]
        if theirs:
            self.error = f"{lacks}: it fits {theirs[0]}. Nothing is taken from it. Swap the two plugs, or correct port."
            self._numbered.reopened()
            return False
        self.error = f"{lacks}. Correct the site file, or the node's settings."
        return True

    def outgoing(self) -> bytes:
        out = super().outgoing()
        return out if self._settings_s is None else out + self._config_bytes()

    def _config_bytes(self) -> bytes:
        now_s = self._mono_s()
        if self._settings_s is None or now_s < self._settings_s:
            return b""
        self._settings_s = now_s + self._settings_wait_s
        self._settings_wait_s = min(2 * self._settings_wait_s, _SETTINGS_AGAIN_MAX_S)
        text = (self._settings or "").encode()
        parts = [text[at : at + PART_BYTES] for at in range(0, len(text), PART_BYTES)] or [b""]
        payloads = [node_frame.config_payload(self._wanted_cfg, len(parts), part) for part in parts]
        return b"".join(node_frame.encode(CONFIG, self.boot, part, payload) for part, payload in enumerate(payloads))

    def _mark_bytes(self, go_back: bool) -> bytes:
        payload = node_frame.ack_payload(self.boot, self.received, self.durable_seq)
        return node_frame.encode(NACK if go_back else ACK, self.boot, 0, payload)

    def _ask_bytes(self) -> bytes:
        return node_frame.encode(ASK, self.boot, 0)


def _points_of(source: str, text: str) -> tuple[str, list[tuple[str, Words]], dict[str, str]]:
    """ "fw;flow*2 pad*1;next=7" -> ("fw", [("n1:flow1", None), ("n1:flow2", None), ("n1:pad1", {})], {"next": "7"}).

    What stands behind the second semicolon is name=value, and names nobody knows are for somebody else.
    """
    firmware, separator, rest = text.partition(";")
    if not separator:
        raise ValueError(f"its text {text!r} has no ';'")
    listed, _, said = rest.partition(";")
    more = {name: value for name, _, value in (item.partition("=") for item in said.split())}
    numbers = ((more.get("cfg", "0"), "0123456789abcdef", 8), (more.get("next", "0"), "0123456789", 10))
    if not all(0 < len(value) <= most and set(value) <= set(digits) for value, digits, most in numbers):
        raise ValueError(f"{said!r} is not cfg=89abcdef next=17")
    points: list[tuple[str, Words]] = []
    counts: dict[str, int] = {}
    for item in listed.split():
        kind, _, count = item.partition("*")
        if not (kind and count.isascii() and count.isdigit() and len(count) <= 4):
            raise ValueError(f"{item!r} is not kind*count")
        done = counts.get(kind, 0)
        counts[kind] = done + int(count)
        for number in range(done + 1, counts[kind] + 1):
            points.append((f"{source}:{kind}{number}", _WORDS_BY_KIND.get(kind)))
        if len(points) > _POINTS_MAX:
            raise ValueError(f"it names more than {_POINTS_MAX} points")
    return firmware, points, more

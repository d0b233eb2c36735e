"""The node's end of the link with its own ring: telemetry makes room for events; every number given up is told.

A full ring gives up its oldest telemetry for what is new. When it holds nothing but events, what is new is given up
itself: the first alarms of an outage are worth more than its last, and levels are told again once there is room.
"""

import array
import struct

from drivers.node_frame import (
    CONFIG,
    DATA,
    HELLO,
    LOST,
    REFUSED,
    encode,
    hello_payload,
    lost_payload,
    parse_config,
    refused_payload,
)
from drivers.node_settings import PART_BYTES, TEXT_MAX_BYTES, cfg_of
from drivers.node_side import NodeSide

_ITEM = "<BHdQ"  # kind, point, value, when: as NodeSide.add hands them over
_ITEM_BYTES = struct.calcsize(_ITEM)
PARTS_MAX = TEXT_MAX_BYTES // PART_BYTES + 1


class RingNode(NodeSide):
    """boot, ring, text, mono_ms: see NodeSide. settings: the text in force. on_settings: is given a new one.

    on_settings(text) raises ValueError, in words, for settings that cannot be; then the old ones stay.
    lost: numbers given up since the start.

    Everything the ring needs is allocated here, so that a full one does not leave the heap in pieces.
    """

    def __init__(self, boot, ring, text, mono_ms, settings, on_settings):
        NodeSide.__init__(self, boot, ring, text, mono_ms)
        self.settings = settings
        self.lost = 0
        self._on_settings = on_settings
        # The i-th item held, from the oldest, has the number _seqs[(_head + i) % ring] and lies at the place _slots[…].
        # Numbers behind durable that are not among them were given up.
        self._store = bytearray(ring * _ITEM_BYTES)
        self._seqs = array.array("I", bytes(4 * ring))
        self._slots = array.array("H", range(ring))
        self._head = 0
        self._held = 0
        self._telemetry = 0  # of those with DATA
        self._parts = {}
        self._parts_of = None
        self._answer = b""

    @property
    def free(self):
        """How many more frames the ring takes without giving anything up."""
        return self.ring - self._held

    def put(self, item):
        """Keep one item under the next number. Returns it, or None when the item was given up at once."""
        seq = self.next
        self.next = seq + 1
        if self._held == self.ring:
            self.lost += 1
            if not self._telemetry:
                return None
            self._evict()
        at = (self._head + self._held) % self.ring
        self._seqs[at] = seq
        struct.pack_into(_ITEM, self._store, self._slots[at] * _ITEM_BYTES, *item)
        self._held += 1
        self._telemetry += item[0] == DATA
        return seq

    def _evict(self):
        """The oldest telemetry goes; what is older moves up by one."""
        at = self._head
        while self._store[self._slots[at] * _ITEM_BYTES] != DATA:
            at = (at + 1) % self.ring
        place = self._slots[at]
        while at != self._head:
            before = (at - 1) % self.ring
            self._seqs[at], self._slots[at] = self._seqs[before], self._slots[before]
            at = before
        self._slots[at] = place
        self._head = (at + 1) % self.ring
        self._held -= 1
        self._telemetry -= 1

    def _release(self, durable):
        while self._held and self._seqs[self._head] <= durable:
            self._telemetry -= self._store[self._slots[self._head] * _ITEM_BYTES] == DATA
            self._head = (self._head + 1) % self.ring
            self._held -= 1

    def _numbered(self, seq, now_ms):
        low, high = 0, self._held
        while low < high:  # the first item held with this number or a later one
            middle = (low + high) // 2
            if self._seqs[(self._head + middle) % self.ring] < seq:
                low = middle + 1
            else:
                high = middle
        at = (self._head + low) % self.ring
        following = self._seqs[at] if low < self._held else self.next
        if following > seq:
            return encode(LOST, self.boot, following - 1, lost_payload(seq)), following
        item = struct.unpack_from(_ITEM, self._store, self._slots[at] * _ITEM_BYTES)
        return self._item_bytes(seq, item, now_ms), seq + 1

    def _hello_bytes(self, oldest):
        text = f"{self.text};cfg={cfg_of(self.settings):08x} next={self.next}"
        return encode(HELLO, self.boot, oldest, hello_payload(self.ring, text))

    def outgoing(self, bytes_max):
        """As Sender.outgoing; an answer about settings comes first."""
        answer = self._answer
        if answer:
            if len(answer) > bytes_max:
                return b""
            self._answer = b""
            return answer
        return NodeSide.outgoing(self, bytes_max)

    def _other(self, kind, seq, payload):
        """Settings come in parts; the whole text counts only when its CRC is the one that was told."""
        if kind != CONFIG:
            return
        try:
            cfg, parts, text = parse_config(payload)
        except ValueError:
            return
        if not (seq < parts <= PARTS_MAX):
            return
        if self._parts_of != (cfg, parts):
            self._parts_of, self._parts = (cfg, parts), {}
        self._parts[seq] = text
        if len(self._parts) < parts:
            return
        whole = b"".join([self._parts[part] for part in range(parts)])
        self._parts_of, self._parts = None, {}
        try:
            self._settled(str(whole, "utf-8"), cfg)
        except (ValueError, OSError) as why:
            self._answer = encode(REFUSED, self.boot, 0, refused_payload(cfg, str(why)))

    def _settled(self, text, cfg):
        if cfg_of(text) != cfg:
            return  # two halves of different texts: the gateway sends again
        if text != self.settings:
            self._on_settings(text)
            self.settings = text
        self._hello_due = True  # says which settings are in force now

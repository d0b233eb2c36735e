"""Bytes <-> frames of the node link. No port, no clock; the same file runs on the nodes, under MicroPython.

On the wire: 0x00 COBS(body) 0x00. body = type u8, boot u32, seq u32, len u8, payload (len bytes),
CRC-32 of header and payload; all little-endian. The zero in front ends whatever noise came before.
"""

import struct
from binascii import crc32

# Node to gateway; DATA, EVENT and LOST are numbered by seq, from 1 at each boot of the node.
HELLO = 1
DATA = 2
EVENT = 3
LOST = 4
BEAT = 5
REFUSED = 6
# Gateway to node.
ACK = 16
NACK = 17
ASK = 18
CONFIG = 19

PROTO = 1
SEQ_MAX = 0xFFFFFFFF
AGE_MAX_MS = 0xFFFFFFFF

HEADER_BYTES = 10
LENGTH_AT = 9
BARE_BYTES = HEADER_BYTES + 4  # header and CRC: a body without payload
PAYLOAD_MAX_BYTES = 230
# One byte of COBS overhead: below 254 bytes there is never a second one, and never a code 0xFF.
FRAME_MAX_BYTES = BARE_BYTES + PAYLOAD_MAX_BYTES + 1

# CRC-32 over a body that ends in its own CRC-32 is always this number.
CRC_RESIDUE = 0x2144DF1C

# For COBS: the code byte in front of a run of 0..253 bytes that are not zero.
CODES = [bytes([length + 1]) for length in range(254)]


def cobs(body: bytes) -> bytes:
    """Consistent Overhead Byte Stuffing of a short body (1 to 253 bytes); no zero is left in it."""
    return b"".join([CODES[len(run)] + run for run in body.split(b"\0")])


def uncobs(piece: bytes) -> bytes:
    """The stuffing undone. Raises ValueError when a code points beyond the end."""
    body = bytearray(piece)
    at = 0
    while at < len(piece):  # each code becomes the zero it stands for and says where the next one is
        code = body[at]
        body[at] = 0
        at += code
    if at != len(piece):
        raise ValueError("a COBS code points beyond the end")
    return bytes(body[1:])


def encode(kind: int, boot: int, seq: int, payload: bytes = b"") -> bytes:
    """One frame as it goes on the wire, with both zero bytes. payload: at most 230 bytes."""
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise ValueError("payload is longer than 230 bytes")
    body = struct.pack("<BIIB", kind, boot, seq, len(payload)) + payload
    body += struct.pack("<I", crc32(body))
    return b"".join((b"\0", cobs(body), b"\0"))


class Splitter:
    """Cuts a stream of bytes into frames; holds at most one unfinished frame.

    good, bad: frames with a right and a wrong CRC, length or stuffing since the start. rest: the unfinished frame.
    """

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self.rest = b""

    def bodies(self, data: bytes) -> list[bytes]:
        """Checked bodies, without their stuffing.

        What is not a frame between its two zeros is counted and dropped; its neighbours never suffer.
        """
        pieces = (self.rest + data).split(b"\0")
        # An endless run without a zero is kept just long enough to be known as too long.
        self.rest = pieces.pop()[: FRAME_MAX_BYTES + 1]
        heard = list(filter(None, pieces))
        found = []
        for piece in heard:
            if BARE_BYTES < len(piece) <= FRAME_MAX_BYTES:
                try:
                    body = uncobs(piece)
                except ValueError:
                    continue
                if body[LENGTH_AT] == len(body) - BARE_BYTES and crc32(body) == CRC_RESIDUE:
                    found.append(body)
        self.good += len(found)
        self.bad += len(heard) - len(found)
        return found

    def feed(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        """Frames completed by data, each as (type, boot, seq, payload)."""
        return [header(body) for body in self.bodies(data)]


def header(body: bytes) -> tuple[int, int, int, bytes]:
    """(type, boot, seq, payload) of a body as bodies() gives it."""
    kind, boot, seq = struct.unpack_from("<BII", body)
    return kind, boot, seq, bytes(body[HEADER_BYTES:-4])


# Payloads. Each parse function raises ValueError when the payload does not have its form.


def hello_payload(ring: int, text: str) -> bytes:
    """ring: frames the node can hold. text: "fw;flow*2 loop*4 pad*1", points numbered 0.. in that order.

    A node that takes settings adds ";cfg=89abcdef next=17": the CRC-32 of those it has, and the number it gives next.
    """
    return struct.pack("<BH", PROTO, ring) + text.encode()


def parse_hello(payload: bytes) -> tuple[int, int, str]:
    """(proto, ring, text)."""
    if len(payload) < 3:
        raise ValueError("a HELLO has at least 3 bytes")
    proto, ring = struct.unpack_from("<BH", payload)
    return proto, ring, str(payload[3:], "utf-8")


def data_payload(point: int, age_ms: int, value: float) -> bytes:
    """point: its place in the HELLO, from 0. age_ms: since it was measured, at sending; saturates."""
    return struct.pack("<HId", point, min(age_ms, AGE_MAX_MS), value)


def parse_data(payload: bytes) -> tuple[int, int, float]:
    """(point, age_ms, value)."""
    point, age_ms, value = struct.unpack("<HId", _exact("<HId", payload))
    return point, age_ms, value


def lost_payload(first: int) -> bytes:
    """first: the first number given up; the frame's own number is the last."""
    return struct.pack("<I", first)


def parse_lost(payload: bytes) -> int:
    """The first number given up."""
    first: int = struct.unpack("<I", _exact("<I", payload))[0]
    return first


def ack_payload(boot: int, received: int, durable: int) -> bytes:
    """Of ACK and NACK. received, durable: everything up to and with this number."""
    return struct.pack("<III", boot, received, durable)


def parse_ack(payload: bytes) -> tuple[int, int, int]:
    """(boot, received, durable)."""
    boot, received, durable = struct.unpack("<III", _exact("<III", payload))
    return boot, received, durable


def beat_payload(uptime_s: int, free_b: int, reset_cause: int, supply_mv: int) -> bytes:
    return struct.pack("<IIBH", uptime_s, free_b, reset_cause, supply_mv)


def parse_beat(payload: bytes) -> tuple[int, int, int, int]:
    """(uptime_s, free_b, reset_cause, supply_mv)."""
    uptime_s, free_b, reset_cause, supply_mv = struct.unpack("<IIBH", _exact("<IIBH", payload))
    return uptime_s, free_b, reset_cause, supply_mv


def config_payload(cfg: int, parts: int, text: bytes) -> bytes:
    """One part of a settings text, numbered from 0 by the frame's seq. cfg: CRC-32 of the whole text."""
    return struct.pack("<IB", cfg, parts) + text


def parse_config(payload: bytes) -> tuple[int, int, bytes]:
    """(cfg, parts, text)."""
    if len(payload) < 5:
        raise ValueError("a CONFIG has at least 5 bytes")
    cfg, parts = struct.unpack_from("<IB", payload)
    return cfg, parts, payload[5:]


def refused_payload(cfg: int, why: str) -> bytes:
    return struct.pack("<I", cfg) + why.encode()[: PAYLOAD_MAX_BYTES - 4]


def parse_refused(payload: bytes) -> tuple[int, str]:
    """(cfg, why): the settings text that the node will not take."""
    if len(payload) < 4:
        raise ValueError("a REFUSED has at least 4 bytes")
    cfg: int = struct.unpack_from("<I", payload)[0]
    return cfg, str(payload[4:], "utf-8")


def _exact(form: str, payload: bytes) -> bytes:
    if len(payload) != struct.calcsize(form):
        raise ValueError("payload has the wrong length")
    return payload

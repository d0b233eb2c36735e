"""Frames of a node made beforehand, and read bare.

The load makes its frames before it begins, because it shares the machine's cores with what is measured; the bare
reader is the limit beside the gateway's decoding.
"""

import os
import struct
import threading
import time
import tty
from binascii import crc32

from drivers.node_frame import CRC_RESIDUE, DATA, cobs, uncobs

SENSORS = 200
_BODY, _CRC = struct.Struct("<BIIBHId"), struct.Struct("<I")
FRAME_B = _BODY.size + _CRC.size + 3  # COBS adds one byte to a body this short, and a zero stands at either end


class Frames:
    """The DATA frames of one boot, each FRAME_B long, from number 1 on; made when asked for and kept."""

    def __init__(self, boot: int) -> None:
        self._boot = boot
        self._bytes = bytearray()

    def make(self, upto: int) -> None:
        """Number n is a reading of point (n - 1) % SENSORS with the value n - 1, just measured."""
        pack, tail, encode = _BODY.pack, _CRC.pack, cobs
        made = []
        for seq in range(len(self._bytes) // FRAME_B + 1, upto + 1):
            body = pack(DATA, self._boot, seq, 14, (seq - 1) % SENSORS, 0, float(seq - 1))
            made.append(b"\0" + encode(body + tail(crc32(body))) + b"\0")
        self._bytes += b"".join(made)

    def frame(self, seq: int) -> bytes:
        return bytes(self._bytes[(seq - 1) * FRAME_B : seq * FRAME_B])

    def all(self) -> bytes:
        return bytes(self._bytes)


def bare_readings_a_second(count: int = 200_000) -> float:
    """Frames through a pseudo-terminal to a reader that splits, undoes COBS, checks the CRC and unpacks."""
    frames = Frames(1)
    frames.make(count)
    master, slave = os.openpty()
    tty.setraw(slave)
    writer = threading.Thread(target=_write_all, args=(master, frames.all()), daemon=True)
    began_s = time.monotonic()
    writer.start()
    try:
        found = _read(slave, count)
        took_s = time.monotonic() - began_s
    finally:
        writer.join(5)
        os.close(master)
        os.close(slave)
    return found / took_s


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left[:65536]) :]


def _read(file: int, count: int) -> int:
    rest, found, decode, unpack = b"", 0, uncobs, _BODY.unpack_from
    while found < count:
        *pieces, rest = (rest + os.read(file, 65536)).split(b"\0")
        for piece in pieces:
            if piece:
                body = decode(piece)
                if crc32(body) == CRC_RESIDUE:
                    unpack(body)
                    found += 1
    return found

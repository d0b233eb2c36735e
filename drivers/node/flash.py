"""A few bytes in flash that survive a power cut during a write: two slots, written in turn, each with a CRC."""

import binascii
import os
import struct

_HEAD = "<IH"
SLOTS = 2


class TwoSlots:
    """name: files `<name>.0` and `<name>.1` in the folder. A torn slot does not count, the other one does."""

    def __init__(self, folder, name):
        self._paths = [f"{folder}/{name}.{slot}" for slot in range(SLOTS)]

    def read(self):
        """What was written last and whole; None when nothing ever was."""
        _, _, data = self._newest()
        return data

    def write(self, data):
        """Raises OSError when the flash does not hold it afterwards; what was there before is then still there."""
        turn, slot, _ = self._newest()
        packed = struct.pack(_HEAD, turn + 1, len(data)) + data
        with open(self._paths[1 - slot], "wb") as file:
            file.write(packed + struct.pack("<I", binascii.crc32(packed)))
        if hasattr(os, "sync"):
            os.sync()
        if self.read() != data:
            raise OSError("the flash does not hold what was written; expected it to; replace the board")

    def _newest(self):
        """(turn, slot, data) of the slot with the higher turn; (0, 1, None) when none is whole."""
        best = (0, 1, None)
        for slot, path in enumerate(self._paths):
            found = _whole(path)
            if found and found[0] > best[0]:
                best = (found[0], slot, found[1])
        return best


def _whole(path):
    """(turn, data) of a file that is as it was written, else None."""
    try:
        with open(path, "rb") as file:
            packed = file.read()
    except OSError:
        return None
    head = struct.calcsize(_HEAD)
    if len(packed) < head + 4 or binascii.crc32(packed[:-4]) != struct.unpack("<I", packed[-4:])[0]:
        return None
    turn, length = struct.unpack_from(_HEAD, packed)
    return (turn, packed[head:-4]) if length == len(packed) - head - 4 else None


def next_boot(slots):
    """This start's number: one more than the last, kept before it is used, so that no number serves two starts.

    The first one is drawn at random: a node that takes the place of another never repeats its numbers. So it is when
    the flash does not hold what is written, because a node that starts is worth more than one that counts.
    """
    kept = slots.read()
    last = struct.unpack("<I", kept)[0] if kept and len(kept) == 4 else 0
    boot = last + 1 if 0 < last < 0xFFFFFFFF else _drawn()
    try:
        slots.write(struct.pack("<I", boot))
    except OSError:
        return _drawn()
    return boot


def _drawn():
    return struct.unpack("<I", os.urandom(4))[0] // 2 + 1

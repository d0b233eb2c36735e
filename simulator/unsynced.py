"""What of a file is not on the disk yet, and what a power cut makes of it."""

import os
import random
from collections import deque

SECTOR_BYTES = 512
PENDING_BYTES_MAX = 64_000_000  # of one file; beyond it the kernel has written the oldest back by itself


class Change:
    """A write (data) or a truncation (data None) that may not be on the disk yet. before: what it replaced."""

    __slots__ = ("before", "bytes", "data", "doubtful", "kept", "offset", "size_before")

    def __init__(self, offset: int, data: bytes | None, before: bytes, size_before: int) -> None:
        self.offset, self.data, self.before, self.size_before = offset, data, before, size_before
        self.bytes = len(data or b"") + len(before)
        self.kept = False  # synced, behind one that is doubtful
        self.doubtful = False  # a sync failed: nobody can say, and no later sync tells

    def undo(self, content: bytearray) -> None:
        if self.data is None:
            content[self.offset :] = self.before
        else:
            content[self.offset : self.offset + len(self.before)] = self.before
        del content[self.size_before :]

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
        else:
            _put(content, self.offset, self.data)

    def apply_torn(self, content: bytearray, dice: random.Random) -> None:
        """Some of its sectors, and so much of the file's size as they need."""
        if self.data is None:
            return
        at, end = self.offset, self.offset + len(self.data)
        while at < end:
            until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
            if dice.getrandbits(1):
                _put(content, at, self.data[at - self.offset : until - self.offset])
            at = until


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class File:
    """One inode: its size, and what of it is pending."""

    def __init__(self, path: str, kind: str, lasting: bool) -> None:
        found = os.stat(path)
        self.path, self.kind = path, kind
        self.size, self.inode, self.mode = found.st_size, found.st_ino, found.st_mode
        self.lasting = lasting  # its name is on the disk
        self.pending: deque[Change] = deque()
        self.pending_bytes = 0
        self._in_doubt = False  # whether a sync of what is pending failed
        self.deleted_content: bytes | None = None

    def changed(self, change: Change) -> None:
        self.pending.append(change)
        self.pending_bytes += change.bytes
        while self.pending_bytes > PENDING_BYTES_MAX:
            self.pending_bytes -= self.pending.popleft().bytes

    def synced(self) -> None:
        if self._in_doubt:
            for change in reversed(self.pending):
                if change.kept or change.doubtful:
                    break  # what is before it was judged with it
                change.kept = True
        else:
            self.pending.clear()
            self.pending_bytes = 0

    def sync_failed(self) -> None:
        for change in self.pending:
            change.doubtful = not change.kept
            self._in_doubt = self._in_doubt or change.doubtful

    def after_cut(self, content: bytearray, dice: random.Random) -> bytearray:
        for change in reversed(self.pending):
            change.undo(content)
        count = sum(not change.kept for change in self.pending)
        how = dice.choice(("none", "all", "prefix", "any"))
        whole = {"none": 0, "all": count}.get(how, dice.randrange(count + 1))
        share = dice.random()
        turn = 0
        for change in self.pending:
            if change.kept:
                change.apply(content)
                continue
            if turn < whole if how != "any" else dice.random() < share:
                change.apply(content)
            elif (how == "prefix" and turn == whole) or (how == "any" and dice.random() < 0.25):
                change.apply_torn(content, dice)
            turn += 1
        return content

    def replace(self, content: bytes | bytearray) -> None:
        """By a new inode."""
        draft = f"{self.path}.cut"
        with open(draft, "wb") as new:
            new.write(content)
        os.chmod(draft, self.mode & 0o7777)
        os.replace(draft, self.path)

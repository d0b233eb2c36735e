"""truth.jsonl: every fact a simulated device produced, written before its first byte can leave the device.

One JSON object a line: {"src","kind","sensor","value","t"}, and `first` and `last` for kind "lost".
src: "<source>/<boot>/<seq>", null for pins and for what is only overheard. kind: reading, event, lost, sampled,
overheard (then `event` is its type). t: UTC seconds.
"""

import json
from pathlib import Path
from typing import BinaryIO

from drivers.reading import Value

LINES_HELD_MAX = 100_000  # far above one step of the loop; reached only when somebody forgets to flush


class Truth:
    """The file, opened for appending: a simulator that is started again goes on with it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = open(path, "ab", buffering=0)  # noqa: SIM115  close() is ours
        self._held: list[str] = []
        self._words: dict[str, str] = {}
        self.facts = 0

    def fact(self, source: str, boot: int, seq: int, kind: str, sensor: str, value: Value | None, t_s: float) -> None:
        """Hold one fact until flush(). Plain formatting: json.dumps of a whole line costs five times as much."""
        words = self._words.get(sensor) or self._words.setdefault(sensor, json.dumps(sensor, ensure_ascii=False))
        plain = repr(value) if type(value) is float else json.dumps(value, ensure_ascii=False)
        self._hold(
            f'{{"src":"{source}/{boot}/{seq}","kind":"{kind}","sensor":{words},"value":{plain},"t":{t_s:.6f}}}\n'
        )

    def lost(self, source: str, boot: int, first: int, last: int, t_s: float) -> None:
        """Numbers a device gave up: they may arrive or not, nobody may count on them."""
        row = {
            "src": f"{source}/{boot}/{last}",
            "kind": "lost",
            "sensor": source,
            "value": None,
            "t": round(t_s, 6),
            "first": first,
            "last": last,
        }
        self._hold(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")

    def overheard(self, source: str, event: str, value: str, t_s: float) -> None:
        """What was said once on a wire that nobody answers."""
        row = {"src": None, "kind": "overheard", "sensor": source, "event": event, "value": value, "t": round(t_s, 6)}
        self._hold(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")

    def sampled(self, sensor: str, value: Value, t_s: float) -> None:
        """A level on a pin: what a program that looks at it from now on will see."""
        row = {"src": None, "kind": "sampled", "sensor": sensor, "value": value, "t": round(t_s, 6)}
        self._hold(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")

    def _hold(self, line: str) -> None:
        self._held.append(line)
        self.facts += 1
        if len(self._held) >= LINES_HELD_MAX:
            self.flush()

    def flush(self) -> None:
        """Everything held is in the file when this returns: it survives the death of this process."""
        if self._held:
            data = memoryview("".join(self._held).encode())
            while data:
                data = data[self._file.write(data) or 0 :]
            self._held.clear()

    def close(self) -> None:
        self.flush()
        self._file.close()

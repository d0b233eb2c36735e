"""Settings of a node, by name: one list for the firmware that obeys them and for `linli check`. Runs under MicroPython.

A settings text is lines of `name=number`, sorted: `loop_hold_ms` is for every loop, `loop2_hold_ms` for the second.
"""

from binascii import crc32

try:
    from collections.abc import Mapping
except ImportError:  # MicroPython: the name stands in annotations only
    pass

TEXT_MAX_BYTES = 1024
PART_BYTES = 225  # of a CONFIG frame

# Sort of point -> setting -> (default, least, most). Thresholds are thousandths of the supply, half-way between what
# a loop of 2.2 and 8.2 kOhm on a 10 kOhm pull-up reads when it is short, normal, in alarm and cut (0, 180, 510, 1000).
SETTINGS: dict[str, dict[str, tuple[int, int, int]]] = {
    "": {"tell_s": (60, 5, 3600)},
    "loop": {
        "hold_ms": (200, 10, 60_000),
        "short_below": (90, 30, 940),
        "alarm_above": (344, 30, 940),
        "cut_above": (755, 30, 940),
    },
    "flow": {"pulse_ul": (2222, 1, 100_000_000), "debounce_ms": (1, 0, 1000), "every_ms": (1000, 200, 60_000)},
    "contact": {"hold_ms": (50, 5, 60_000), "closed_is": (1, 0, 1)},
    "pad": {"wait_ms": (30_000, 1000, 600_000)},
}
HYSTERESIS = 50  # thousandths: half of it on each side of a threshold
NUMBER_DIGITS_MAX = 3


class SettingError(ValueError):
    """found, expected: in words."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found}, expected {expected}")
        self.found = found
        self.expected = expected


class Settings:
    """counts: {sort of point: how many this node has}, None where nobody knows. Raises SettingError."""

    def __init__(self, text: str, counts: "Mapping[str, int] | None" = None) -> None:
        self.text = text
        self._values: dict[tuple[str, int, str], int] = {}
        for line in text.split("\n"):
            if line:
                name, _, value = line.partition("=")
                key, read = checked(name, value)
                if counts is not None and key[1] > counts.get(key[0], 0):
                    raise SettingError(name, f"one of this node's {counts.get(key[0], 0)} {key[0]}")
                self._values[key] = read
        for number in {number for kind, number, _ in self._values if kind == "loop"}:
            short, alarm, cut = [self.get("loop", number, name) for name in ("short_below", "alarm_above", "cut_above")]
            if not (short + HYSTERESIS < alarm and alarm + HYSTERESIS < cut):
                found = f"loop thresholds {short}, {alarm} and {cut}"
                raise SettingError(found, f"each more than {HYSTERESIS} above the one before")

    def get(self, kind: str, number: int, name: str) -> int:
        """For the point `kind` `number` (from 1): its own setting, else that of its sort, else the default."""
        found = self._values.get((kind, number, name))
        if found is None:
            found = self._values.get((kind, 0, name))
        return SETTINGS[kind][name][0] if found is None else found


def checked(name: str, value: str) -> tuple[tuple[str, int, str], int]:
    """(("loop", 2, "hold_ms"), 300) of "loop2_hold_ms", "300". Raises SettingError."""
    kind, number, setting = split(name)
    _, least, most = SETTINGS[kind][setting]
    try:
        read = int(value)
    except ValueError:
        read = least - 1
    if not least <= read <= most:
        raise SettingError(f"{name} = {value[:20]}", f"{least} to {most}")
    return (kind, number, setting), read


def split(name: str) -> tuple[str, int, str]:
    """("loop", 2, "hold_ms") of "loop2_hold_ms"; number 0: every loop. Raises SettingError for a name nobody knows."""
    if name in SETTINGS[""]:
        return "", 0, name
    point, _, setting = name.partition("_")
    kind = point.rstrip("0123456789")
    digits = point[len(kind) :]
    if kind and setting in SETTINGS.get(kind, ()) and digits[:1] != "0" and len(digits) <= NUMBER_DIGITS_MAX:
        return kind, int(digits or "0"), setting
    raise SettingError(name[:40], "one of " + ", ".join(known(kind)))


def known(kind: str) -> list[str]:
    """Names of settings: of this sort of point, or all when there is no such sort."""
    kinds = [kind] if kind in SETTINGS and kind else sorted(SETTINGS)
    return [(f"{k}_{name}" if k else name) for k in kinds for name in sorted(SETTINGS[k])]


def text_of(values: "Mapping[str, int]") -> str:
    """The settings text that a node is given."""
    return "\n".join([f"{name}={values[name]}" for name in sorted(values)])


def cfg_of(text: str) -> int:
    """What a node says of the settings it has; 0 for none."""
    return crc32(text.encode())

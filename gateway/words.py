"""What a person in the centre reads, in Chinese and English: words.json, `[zh-CN, en]` by key.

"K.do" is what to do about what "K" found. A sentence of the code, English there, is known by its pattern ("faults").
"""

import json
import re
from pathlib import Path

from drivers.kinds import KINDS, is_active

LANGUAGES = ("zh-CN", "en")
_LPM_PER_M3S = 60_000

_FILE = Path(__file__).with_name("words.json")
REPORT_WORDS = Path(__file__).with_name("report_words.json")  # of the facility log and the reports
PAGE_WORDS = Path(__file__).with_name("page_words.json")  # of the page in the centre


class Words:
    """lang: one of LANGUAGES. Called with a key and its values, it gives the sentence. Raises KeyError.

    file: the catalogue; this folder's own when left out.
    """

    def __init__(self, lang: str, file: Path = _FILE) -> None:
        body = json.loads(file.read_text(encoding="utf-8"))
        self.lang = lang
        self._index = LANGUAGES.index(lang)
        self._texts: dict[str, list[str]] = body["texts"]
        self._faults: list[list[str]] = body["faults"]

    def __call__(self, key: str, *numbered: object, **values: object) -> str:
        return self._texts[key][self._index].format(*numbered, **values)

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def span(self, seconds: float) -> str:
        """A time span, in the unit a person would choose."""
        for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
            if seconds >= 2 * length_s:
                return self(f"span.{unit}", n=round(seconds / length_s))
        return self("span.s", n=round(seconds) if seconds >= 10 else round(seconds, 1))

    def size(self, count: float) -> str:
        """Bytes, e.g. "12.3 KiB"; the same in both languages."""
        for unit in ("B", "KiB", "MiB"):
            if count < 1024:
                return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
            count /= 1024
        return f"{count:.1f} GiB"

    def value(self, kind: str, value: float | bool | str | None) -> str:
        """A sensor's value: the words of its kind, or a number with a unit (flow in L/min, as on the meter)."""
        if value is None:
            return self("value.none")
        if value in ("cut", "short"):
            return self(f"word.{value}")
        if KINDS[kind].is_contact:
            return self(f"word.{KINDS[kind].active if is_active(value) else KINDS[kind].idle}")
        if kind == "flow" and isinstance(value, float | int):
            return f"{value * _LPM_PER_M3S:.2f} L/min"
        return f"{value:g} {KINDS[kind].unit}" if isinstance(value, float | int) else value

    def fault(self, text: str) -> tuple[str, str]:
        """(what was found, what to do) of a sentence of the code. One nobody has put into words yet stays as it is."""
        for pattern, key in self._faults:
            if match := re.fullmatch(pattern, text, re.DOTALL):
                return self(key, *match.groups()), self(f"{key}.do", *match.groups())
        found, _, do = text.partition("; ")
        return found, do or self("fault.unknown.do")
